//! Image names, normalised as Docker's reference grammar does it: `nginx` is `docker.io/library/nginx:latest`.

use std::fmt;

/// A parsed image name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    pub registry: String,
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<String>,
}

impl Reference {
    /// Parses a name; `None` when it is none.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (rest, digest) = match name.split_once('@') {
            Some((rest, digest)) if digest.contains(':') => (rest, Some(digest.to_owned())),
            Some(_) => return None,
            None => (name, None),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            // A colon before a slash belongs to the registry's port.
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_owned())),
            _ => (rest, None),
        };
        let (registry, repository) = match path.split_once('/') {
            // `docker.io/nginx` is short for `docker.io/library/nginx`, for that registry only.
            Some(("docker.io" | "index.docker.io", rest)) if !rest.contains('/') => ("docker.io", format!("library/{rest}")),
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest.to_owned()),
            Some(_) => ("docker.io", path.to_owned()),
            None => ("docker.io", format!("library/{path}")),
        };
        let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
        let good = |text: &str| {
            !text.is_empty()
                && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c))
                && text.split('/').all(|part| !part.is_empty())
        };
        let good_tag = tag.as_deref().is_none_or(|tag| {
            !tag.is_empty() && tag.len() <= 128 && tag.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        });
        if !good(&repository) || !good_tag {
            return None;
        }
        let tag = if tag.is_none() && digest.is_none() { Some("latest".to_owned()) } else { tag };
        Some(Self { registry: registry.to_owned(), repository, tag, digest })
    }

    /// The name without tag and digest, the way people write it: `nginx`, `traefik/whoami`, `registry.k8s.io/pause`.
    #[must_use]
    pub fn familiar(&self) -> String {
        match (self.registry.as_str(), self.repository.strip_prefix("library/")) {
            ("docker.io", Some(short)) => short.to_owned(),
            ("docker.io", None) => self.repository.clone(),
            (registry, _) => format!("{registry}/{}", self.repository),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        for (given, full, familiar) in [
            ("nginx", "docker.io/library/nginx:latest", "nginx"),
            ("nginx:1.27-alpine", "docker.io/library/nginx:1.27-alpine", "nginx"),
            ("docker.io/library/nginx", "docker.io/library/nginx:latest", "nginx"),
            ("traefik/whoami", "docker.io/traefik/whoami:latest", "traefik/whoami"),
            ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10", "registry.k8s.io/pause"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest", "localhost:5000/a/b"),
            ("busybox@sha256:ab", "docker.io/library/busybox@sha256:ab", "busybox"),
        ] {
            let reference = Reference::parse(given).expect(given);
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for given in ["", "NGINX", "a//b", "nginx:", "a b", "x@latest"] {
            assert_eq!(Reference::parse(given), None, "{given}");
        }
    }
}
