//! The dictionary that SPDY/3 header blocks are compressed with (SPDY protocol draft 3, section 2.6.10.1): words that
//! headers are made of, each behind its length, and a tail of values.

const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
    accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
    content-length content-location content-md5 content-range content-type date etag expect expires from host if-match \
    if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
    proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
    user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie \
    keep-alive origin";

const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 \
    Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 \
    Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept \
    Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
    application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch\
    charset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// The dictionary's bytes.
pub fn bytes() -> Vec<u8> {
    let mut all = Vec::with_capacity(1423);
    for word in WORDS.split_whitespace() {
        // The one word with a blank in it.
        let word = word.replace('_', " ");
        all.extend(u32::try_from(word.len()).expect("the words are short").to_be_bytes());
        all.extend(word.as_bytes());
    }
    all.extend(TAIL.as_bytes());
    all
}

#[cfg(test)]
mod tests {
    /// Adler-32 of the dictionary, which zlib streams name it by (RFC 1950).
    const ID: u32 = 0xe3c6_a7c2;

    #[test]
    fn it_is_the_one_that_everybody_has() {
        let bytes = super::bytes();
        assert_eq!(bytes.len(), 1423);
        let (a, b) = bytes.iter().fold((1_u32, 0_u32), |(a, b), byte| {
            let a = (a + u32::from(*byte)) % 65521;
            (a, (b + a) % 65521)
        });
        assert_eq!(b << 16 | a, ID);
    }
}
