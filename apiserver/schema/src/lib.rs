//! One model of fields for every kind, built in or custom; from it follow decoding, pruning, defaulting, validation,
//! strategic merge, server-side apply, protobuf and OpenAPI.

pub mod field;
