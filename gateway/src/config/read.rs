//! How each scalar of the configuration is read.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::Method;
use ipnet::IpNet;

use super::mapping::Shown;
use super::node::Node;
use super::value::{ByteSize, DurationText, Name, Percent, whole_number};
use super::walk::{Read, ReadText, Unreadable, Walk, nearest};

/// The words of a [`Choice`], and what each stands for.
pub(super) type Choices<T> = &'static [(&'static str, T)];

/// A value that is one of a few words.
pub(super) trait Choice: Copy + 'static {
    /// The words, for errors.
    const EXPECTED: &'static str;
    /// Each word and what it stands for.
    const CHOICES: Choices<Self>;
    /// Words that are planned and not understood yet.
    const LATER: &'static [&'static str];
}

/// Reads one of a few words.
fn choose<T: Choice>(text: &str) -> Result<T, Unreadable> {
    if let Some((_, value)) = T::CHOICES.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    if T::LATER.contains(&text) {
        return Err(Unreadable::rule(format!("only {} is implemented in this version", T::EXPECTED)));
    }
    let meant = nearest(text, T::CHOICES.iter().map(|(word, _)| *word));
    Err(Unreadable::default().meant(meant))
}

macro_rules! read_choices {
    ($($choice:ty),*) => {
        $(impl ReadText for $choice {
            const EXPECTED: &'static str = <$choice as Choice>::EXPECTED;

            fn read_text(text: &str) -> Result<Self, Unreadable> {
                choose(text)
            }
        })*
    };
}

read_choices!(
    super::BodyDigest,
    super::ClientAddressFrom,
    super::ClientAuthMode,
    super::Durability,
    super::PathKept,
    super::Policy,
    super::Protocol,
    super::Query,
    super::TlsVersion,
    super::Algorithm,
    super::CertificateActor
);

impl Read for bool {
    const EXPECTED: &'static str = "`true` or `false`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        match (walk.text(node, path, <bool as Read>::EXPECTED)?.as_str(), Walk::is_plain(node)) {
            ("true", true) => Some(true),
            ("false", true) => Some(false),
            (text, _) => {
                let meant = match text.to_ascii_lowercase().as_str() {
                    "yes" | "on" | "true" => Some("true".to_owned()),
                    "no" | "off" | "false" => Some("false".to_owned()),
                    _ => None,
                };
                walk.bad_value(path, format!("expected {}", <bool as Read>::EXPECTED), meant);
                None
            }
        }
    }
}

macro_rules! read_whole_numbers {
    ($($number:ty),*) => {
        $(impl Read for $number {
            const EXPECTED: &'static str = "a whole number";

            fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
                let text = walk.text(node, path, <$number as Read>::EXPECTED)?;
                let number = whole_number(&text).filter(|_| Walk::is_plain(node));
                match number.map(<$number>::try_from) {
                    Some(Ok(number)) => Some(number),
                    Some(Err(_)) => {
                        walk.bad_value(path, format!("expected at most {}", <$number>::MAX), None);
                        None
                    }
                    None => {
                        walk.bad_value(path, "expected a whole number, in digits and without quotes", None);
                        None
                    }
                }
            }
        }

        impl Shown for $number {
            fn shown(&self) -> String {
                self.to_string()
            }
        })*
    };
}

read_whole_numbers!(u8, u16, u32);

impl ReadText for String {
    const EXPECTED: &'static str = "a text";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        match text.chars().any(char::is_control) {
            _ if text.is_empty() => Err(Unreadable::rule("expected a text, found an empty one")),
            true => Err(Unreadable::rule("expected a text without control characters")),
            false => Ok(text.to_owned()),
        }
    }
}

/// A path; a relative one begins at the directory of its file.
impl Read for PathBuf {
    const EXPECTED: &'static str = "a path";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let text = walk.text(node, path, <PathBuf as Read>::EXPECTED)?;
        let rule = if text.is_empty() {
            "expected a path, found an empty text"
        } else if text.chars().any(char::is_control) {
            "expected a path without control characters"
        } else if text == "~" || text.starts_with("~/") {
            "expected a path without `~`, which is not expanded: write it out, or use `${HOME}`"
        } else {
            // Component by component: `./` and doubled slashes go, `..` stays, since links may be on the way.
            return Some(walk.directory(node).join(text).components().collect());
        };
        walk.bad_value(path, rule, None);
        None
    }
}

impl ReadText for Name {
    const EXPECTED: &'static str = "a name of lower-case letters, digits, `.`, `_` and `-`, at most 64, that begins with a letter or digit";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        let lower = text.to_lowercase().replace(' ', "-");
        Name::parse(text)
            .ok_or_else(|| Unreadable::default().meant(Name::parse(&lower).map(|n| n.to_string())))
    }
}

impl ReadText for Duration {
    const EXPECTED: &'static str = "a duration such as `20ms`, `60s`, `5m`, `12h` or `400d`";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        let compact = text.replace(' ', "").to_lowercase();
        let meant = match whole_number(text) {
            Some(_) => DurationText::parse(&format!("{text}s")),
            None => DurationText::parse(&compact),
        };
        DurationText::parse(text).ok_or_else(|| Unreadable::default().meant(meant.map(DurationText::write)))
    }
}

impl Shown for Duration {
    fn shown(&self) -> String {
        DurationText::write(*self)
    }
}

impl ReadText for ByteSize {
    const EXPECTED: &'static str = "a size such as `512B`, `64KiB`, `64MiB` or `10GiB`";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        ByteSize::parse(text).ok_or_else(|| Unreadable::default().meant(nearest_size(text)))
    }
}

impl Shown for ByteSize {
    fn shown(&self) -> String {
        self.to_string()
    }
}

/// `64M`, `64mb` and `64 MiB` were probably meant to be `64MiB`.
fn nearest_size(text: &str) -> Option<String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => "B",
        "k" | "kb" | "kib" => "KiB",
        "m" | "mb" | "mib" => "MiB",
        "g" | "gb" | "gib" => "GiB",
        "t" | "tb" | "tib" => "TiB",
        _ => return None,
    };
    ByteSize::parse(&format!("{number}{unit}")).map(|_| format!("{number}{unit}"))
}

impl ReadText for Percent {
    const EXPECTED: &'static str = "a share from `1%` to `100%`";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        let meant = Percent::parse(&format!("{text}%")).map(|percent| percent.to_string());
        Percent::parse(text).ok_or_else(|| Unreadable::default().meant(meant))
    }
}

impl ReadText for SocketAddr {
    const EXPECTED: &'static str = "an IP address and port such as `127.0.0.1:8080` or `\"[::]:8080\"`";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        text.parse().map_err(|_| {
            if text.starts_with("unix:") {
                return Unreadable::rule("Unix sockets are not implemented in this version");
            }
            let meant = match text.rsplit_once(':') {
                Some(("localhost", port)) => Some(format!("127.0.0.1:{port}")),
                Some(("" | "*", port)) => Some(format!("[::]:{port}")),
                _ => text.parse::<u16>().ok().map(|port| format!("127.0.0.1:{port}")),
            };
            Unreadable::default().meant(meant.filter(|meant| meant.parse::<SocketAddr>().is_ok()))
        })
    }
}

impl ReadText for IpNet {
    const EXPECTED: &'static str = "a network such as `10.0.0.0/8` or an address";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(IpNet::from(address));
        }
        let network: IpNet = text.parse().map_err(|_| Unreadable::default())?;
        if network.trunc() != network {
            return Err(Unreadable::rule("expected no bits after the prefix")
                .meant(Some(network.trunc().to_string())));
        }
        Ok(network)
    }
}

impl ReadText for Method {
    const EXPECTED: &'static str = "a method in capitals, such as `GET`";

    fn read_text(text: &str) -> Result<Self, Unreadable> {
        const KNOWN: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];
        if text == "CONNECT" {
            return Err(Unreadable::rule("expected another method: `CONNECT` is always refused"));
        }
        let capitals = !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
        match Method::from_bytes(text.as_bytes()) {
            Ok(method) if capitals => Ok(method),
            _ => Err(Unreadable::default().meant(nearest(text, KNOWN))),
        }
    }
}
