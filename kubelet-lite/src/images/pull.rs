//! Having an image by its pull policy, and what is said when it cannot be had (upstream
//! `pkg/kubelet/images/image_manager.go`).
//!
//! Where no registry is asked, `Always` and `IfNotPresent` find the same. Where one is, what it does not give is looked for
//! here all the same: an emulator has to work offline.

use std::path::Path;
use std::time::{Duration, Instant};

use runtime::events::EventType;

use super::credentials::Credentials;
use super::puller::{self, Request};
use super::reference::Reference;
use super::{Error, Image, Images, catalogue, skeleton, store};

/// An image, and how it came.
#[derive(Clone, Debug)]
pub struct Had {
    pub image: Image,
    pub how: How,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// It was here.
    Present,
    /// A registry gave it, or said that it is the newest.
    Pulled(Duration),
    /// The registry did not, for this reason, but it was here.
    InsteadOf(String),
}

impl Had {
    /// The Events about it, in their order: kind, reason, message. `image` is the name as it was given.
    #[must_use]
    pub fn events(&self, image: &str) -> Vec<(EventType, &'static str, String)> {
        let mut events = Vec::new();
        if let How::InsteadOf(why) = &self.how {
            events.push((EventType::Warning, "Failed", format!("Failed to pull image \"{image}\": {why}")));
        }
        if let Some(text) = &self.image.stand_in {
            events.push((EventType::Normal, "ImageFromCatalogue", text.clone()));
        }
        let text = match self.how {
            How::Pulled(took) => {
                let (took, size) = (go(took), self.image.size);
                format!(
                    "Successfully pulled image \"{image}\" in {took} ({took} including waiting). Image size: {size} bytes."
                )
            }
            How::Present | How::InsteadOf(_) => {
                format!("Container image \"{image}\" already present on machine and can be accessed by the pod")
            }
        };
        events.push((EventType::Normal, "Pulled", text));
        events
    }
}

/// As Go writes a duration, of which upstream keeps the milliseconds.
fn go(duration: Duration) -> String {
    let (minutes, rest) = (duration.as_secs() / 60, duration.as_millis() % 60_000);
    let rest = Duration::from_millis(u64::try_from(rest).unwrap_or_default());
    match (minutes / 60, minutes % 60) {
        (0, 0) if rest.is_zero() => "0s".to_owned(),
        (0, 0) => format!("{rest:?}"),
        (0, minutes) => format!("{minutes}m{}s", rest.as_secs_f64()),
        (hours, minutes) => format!("{hours}h{minutes}m{}s", rest.as_secs_f64()),
    }
}

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
            Error::Unknown(_) | Error::NotPulled(..) | Error::Store(_) | Error::Io { .. } => (FAILED, text),
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

    /// The Events about the image itself, in their order: kind, reason, message. That it was tried has been said before.
    #[must_use]
    pub fn events(&self) -> Vec<(EventType, &'static str, String)> {
        let Self { reason, image, text } = self;
        match *reason {
            FAILED => vec![
                (EventType::Warning, "Failed", format!("Failed to pull image \"{image}\": {text}")),
                (EventType::Normal, "BackOff", format!("Back-off pulling image \"{image}\"")),
            ],
            "InvalidImageName" => vec![(EventType::Warning, "InspectFailed", text.clone())],
            never => vec![(EventType::Warning, never, text.clone())],
        }
    }
}

/// The Event before a pull.
#[must_use]
pub fn pulling(image: &str) -> (EventType, &'static str, String) {
    (EventType::Normal, "Pulling", format!("Pulling image \"{image}\""))
}

impl Images {
    /// Finds `name` by `policy` (`Always`, `IfNotPresent`, `Never`); blocking, and as long as a registry takes. `pulling` is
    /// called when it has to come from one.
    ///
    /// # Errors
    /// In upstream's words.
    pub fn pull(
        &self,
        name: &str,
        policy: &str,
        credentials: &Credentials,
        pulling: impl FnOnce(),
    ) -> Result<Had, Refused> {
        self.find(name, policy, credentials, pulling).map_err(|error| Refused::new(name, &error))
    }

    /// Finds `name` on this machine: what is stored, or a stand-in; blocking (it may unpack a layer on first use).
    ///
    /// # Errors
    /// [`Error::Unknown`] when there is neither.
    pub fn resolve(&self, name: &str) -> Result<Image, Error> {
        let reference = Reference::parse(name).ok_or_else(|| Error::InvalidName(name.to_owned()))?;
        self.here(&reference, store::find(&self.store, &reference)?)
    }

    fn find(&self, name: &str, policy: &str, credentials: &Credentials, pulling: impl FnOnce()) -> Result<Had, Error> {
        let reference = Reference::parse(name).ok_or_else(|| Error::InvalidName(name.to_owned()))?;
        let stored = store::find(&self.store, &reference)?;
        // What stands in for nothing is the image itself: the emulator's own.
        let own = catalogue::find(&reference).is_some_and(|entry| entry.what.is_empty());
        let wanted = !own && (policy == "Always" || (policy != "Never" && stored.is_none()));
        let puller = self.puller.as_deref().filter(|_| wanted);
        let Some(puller) = puller else {
            return match self.here(&reference, stored) {
                Ok(image) => Ok(Had { image, how: How::Present }),
                Err(Error::Unknown(_)) if policy == "Never" => Err(Error::NeverPull(name.to_owned())),
                Err(error) => {
                    pulling();
                    Err(error)
                }
            };
        };
        pulling();
        self.pulled(puller, &reference, credentials, stored)
    }

    fn pulled(
        &self,
        puller: &Path,
        reference: &Reference,
        credentials: &Credentials,
        stored: Option<Image>,
    ) -> Result<Had, Error> {
        let begun = Instant::now();
        let request = Request { image: reference.to_string(), auths: credentials.auths().cloned() };
        let why = match puller::ask(puller, &request) {
            Ok(()) => match store::find(&self.store, reference)? {
                Some(image) => return Ok(Had { image, how: How::Pulled(begun.elapsed()) }),
                None => "it was pulled, but is not in the image store".to_owned(),
            },
            Err(why) => why,
        };
        match self.here(reference, stored) {
            Ok(image) => Ok(Had { image, how: How::InsteadOf(why) }),
            Err(Error::Unknown(name)) => Err(Error::NotPulled(name, why)),
            Err(error) => Err(error),
        }
    }

    fn here(&self, reference: &Reference, stored: Option<Image>) -> Result<Image, Error> {
        match (stored, catalogue::find(reference)) {
            (Some(image), _) => Ok(image),
            (None, Some(entry)) => skeleton::prepare(entry, reference, &self.scratch),
            (None, None) => Err(Error::Unknown(reference.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_images_that_are_not_had() {
        let dir = tempfile::tempdir().expect("a folder");
        let images = Images::new(dir.path(), dir.path(), None);
        let none = Credentials::default();
        let unknown = "failed to pull image \"example.com/none:1\": it is neither in the image store nor in the catalogue, \
                       and registries are asked only after `knetsim up --pull`: add it with `knetsim image pull` or \
                       `knetsim image load`";
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
            let refused = images.pull(name, policy, &none, || {}).expect_err("there is no such image");
            for (is_first, (reason, text)) in [(true, first), (false, later)] {
                assert_eq!(refused.waiting(is_first), (reason, text.to_owned()), "{name} {policy}");
            }
        }
        let reasons = |name, policy| -> Vec<&str> {
            let mut all = Vec::new();
            let refused = images.pull(name, policy, &none, || all.push("Pulling")).expect_err("there is no such image");
            all.extend(refused.events().into_iter().map(|(_, reason, _)| reason));
            all
        };
        assert_eq!(reasons("example.com/none:1", "Always"), ["Pulling", "Failed", "BackOff"]);
        assert_eq!(reasons("example.com/none:1", "Never"), ["ErrImageNeverPull"]);
        assert_eq!(reasons("A b", "Always"), ["InspectFailed"]);
    }

    #[test]
    fn what_is_said_of_images_that_are() {
        let image = |stand_in: Option<&str>| Image {
            name: "n".to_owned(),
            id: "i".to_owned(),
            size: 7,
            layers: Vec::new(),
            usr: Vec::new(),
            binds: Vec::new(),
            config: crate::images::Config::default(),
            stand_in: stand_in.map(str::to_owned),
        };
        let told = |stand_in, how| -> Vec<String> {
            let events = Had { image: image(stand_in), how }.events("a:1");
            events.into_iter().map(|(_, reason, text)| format!("{reason}: {text}")).collect()
        };
        let present = "Pulled: Container image \"a:1\" already present on machine and can be accessed by the pod";
        assert_eq!(told(None, How::Present), [present]);
        let pulled =
            "Pulled: Successfully pulled image \"a:1\" in 1m1.5s (1m1.5s including waiting). Image size: 7 bytes.";
        assert_eq!(told(None, How::Pulled(Duration::from_micros(61_500_900))), [pulled]);
        let instead = ["Failed: Failed to pull image \"a:1\": away", "ImageFromCatalogue: it is b", present];
        assert_eq!(told(Some("it is b"), How::InsteadOf("away".to_owned())), instead);
        let durations = [0, 900, 1_000, 12_340, 60_000, 3_661_000].map(|millis| go(Duration::from_millis(millis)));
        assert_eq!(durations, ["0s", "900ms", "1s", "12.34s", "1m0s", "1h1m1s"]);
    }
}
