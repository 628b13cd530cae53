//! Having an image by its pull policy, and what is said when it cannot be had (upstream
//! `pkg/kubelet/images/image_manager.go`).
//!
//! Nothing is fetched from anywhere, so `Always` and `IfNotPresent` find the same.

use runtime::events::EventType;

use super::{Error, Image, Images};

/// Why an image is not had: a container's waiting reason, and upstream's message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refused {
    pub reason: &'static str,
    /// The name as it was given.
    pub image: String,
    pub text: String,
}

const FAILED: &str = "ErrImagePull";

impl Refused {
    fn new(image: &str, error: &Error) -> Self {
        let text = error.to_string();
        let (reason, text) = match error {
            Error::NeverPull(_) => ("ErrImageNeverPull", text),
            Error::InvalidName(_) => {
                ("InvalidImageName", format!("Failed to apply default image tag \"{image}\": {text}"))
            }
            Error::Unknown(_) | Error::Store(_) | Error::Io { .. } => (FAILED, text),
        };
        Self { reason, image: image.to_owned(), text }
    }

    /// A waiting container's reason and message, after the `first` try and after those that follow.
    #[must_use]
    pub fn waiting(&self, first: bool) -> (&'static str, String) {
        if first || self.reason != FAILED {
            return (self.reason, self.text.clone());
        }
        ("ImagePullBackOff", format!("Back-off pulling image \"{}\": {FAILED}: {}", self.image, self.text))
    }

    /// The Events about the image itself, in their order: kind, reason, message.
    #[must_use]
    pub fn events(&self) -> Vec<(EventType, &'static str, String)> {
        let Self { reason, image, text } = self;
        match *reason {
            FAILED => vec![
                (EventType::Normal, "Pulling", format!("Pulling image \"{image}\"")),
                (EventType::Warning, "Failed", format!("Failed to pull image \"{image}\": {text}")),
                (EventType::Normal, "BackOff", format!("Back-off pulling image \"{image}\"")),
            ],
            "InvalidImageName" => vec![(EventType::Warning, "InspectFailed", text.clone())],
            never => vec![(EventType::Warning, never, text.clone())],
        }
    }
}

impl Images {
    /// Finds `name` by `policy` (`Always`, `IfNotPresent`, `Never`); blocking, as [`Images::resolve`].
    ///
    /// # Errors
    /// In upstream's words.
    pub fn pull(&self, name: &str, policy: &str) -> Result<Image, Refused> {
        let found = self.resolve(name).map_err(|error| match error {
            Error::Unknown(_) if policy == "Never" => Error::NeverPull(name.to_owned()),
            other => other,
        });
        found.map_err(|error| Refused::new(name, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_images_that_are_not_had() {
        let dir = tempfile::tempdir().expect("a folder");
        let images = Images::new(dir.path(), dir.path());
        let unknown = "failed to pull image \"example.com/none:1\": it is neither in the image store nor in the catalogue, \
                       and knetsim does not pull from registries: add it with `knetsim image load ARCHIVE`";
        let back_off = format!("Back-off pulling image \"example.com/none:1\": ErrImagePull: {unknown}");
        let never = "Container image \"example.com/none:1\" is not present with pull policy of Never";
        let invalid =
            "Failed to apply default image tag \"A b\": couldn't parse image name \"A b\": invalid reference format";
        let cases = [
            ("example.com/none:1", "IfNotPresent", ("ErrImagePull", unknown), ("ImagePullBackOff", &*back_off)),
            ("example.com/none:1", "Always", ("ErrImagePull", unknown), ("ImagePullBackOff", &*back_off)),
            ("example.com/none:1", "Never", ("ErrImageNeverPull", never), ("ErrImageNeverPull", never)),
            ("A b", "Never", ("InvalidImageName", invalid), ("InvalidImageName", invalid)),
        ];
        for (name, policy, first, later) in cases {
            let refused = images.pull(name, policy).expect_err("there is no such image");
            for (is_first, (reason, text)) in [(true, first), (false, later)] {
                assert_eq!(refused.waiting(is_first), (reason, text.to_owned()), "{name} {policy}");
            }
        }
        let reasons = |name, policy| -> Vec<&str> {
            let refused = images.pull(name, policy).expect_err("there is no such image");
            refused.events().into_iter().map(|(_, reason, _)| reason).collect()
        };
        assert_eq!(reasons("example.com/none:1", "Always"), ["Pulling", "Failed", "BackOff"]);
        assert_eq!(reasons("example.com/none:1", "Never"), ["ErrImageNeverPull"]);
        assert_eq!(reasons("A b", "Always"), ["InspectFailed"]);
    }
}
