//! From files to a [`Config`]: read, parse, merge, read the values, check them against one another.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::error::{ConfigError, Problems};
use super::node::{self, Content, Entry, Node};
use super::source::{self, SourceFile};
use super::value::Name;
use super::variable::Variables;
use super::walk::{Read, Seen, Slots, Walk, join};
use super::{Admin, Audit, Config, Listener, Loaded, Metrics, Provider, Route, Shutdown, Upstream, check};

impl Config {
    /// Loads the configuration at `path`: a file, a directory (its `*.yaml` are merged), or `-` for standard input.
    /// Variables come from the environment. No file that the configuration names is touched.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Config, Problems> {
        let mut errors = Vec::new();
        let files = source::read(path, &mut errors);
        let mut config = load(files, &environment, errors)?;
        config.loaded.origin = (path != Path::new("-")).then(|| path.to_owned());
        Ok(config)
    }

    /// Loads a configuration made in code, named `name` in errors. Relative paths begin at the working directory.
    ///
    /// ```
    /// use gateway::config::Config;
    ///
    /// let problems = Config::from_text("x.yaml", "version: 1\nlisten: []\nrouts: []").unwrap_err();
    /// let third = problems.iter().find(|problem| problem.line == 3).unwrap();
    /// assert_eq!(
    ///     third.to_string(),
    ///     "x.yaml:3:1: unknown key `routs` in the configuration (value: an empty list): did you mean `routes`?"
    /// );
    /// ```
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn from_text(name: &str, text: impl Into<String>) -> Result<Config, Problems> {
        let mut errors = Vec::new();
        let file = source::text(name, text.into(), &mut errors);
        load(vec![file], &environment, errors)
    }
}

pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

pub(super) fn load(
    files: Vec<SourceFile>,
    variables: &Variables<'_>,
    mut errors: Vec<ConfigError>,
) -> Result<Config, Problems> {
    let names = || files.iter().map(|file| file.name.clone()).collect::<Vec<_>>();
    if !errors.is_empty() {
        return Err(Problems::new(errors, &names()));
    }
    let trees: Vec<Option<Node>> =
        (0u16..).zip(&files).map(|(index, file)| node::parse(index, &file.text, &mut errors)).collect();
    let trees: Option<Vec<Node>> = trees.into_iter().collect();
    let Some(trees) = trees else {
        return Err(Problems::new(errors, &names()));
    };
    let mut walk = Walk::new(&files, variables, errors);
    let config = merge(trees, &mut walk).and_then(|root| read_root(&root, &mut walk));
    match config {
        Some(parts) if walk.errors.is_empty() => Ok(parts.into_config(loaded(&files, walk.seen))),
        _ => Err(Problems::new(walk.errors, &names())),
    }
}

/// The text as it was loaded, variables left as references: of several files, one after the other under their names.
fn loaded(files: &[SourceFile], seen: Seen) -> Loaded {
    let text = joined(files);
    let sha256 = Sha256::digest(text.as_bytes()).into();
    let names = files.iter().map(|file| file.name.clone()).collect();
    Loaded { text, sha256, origin: None, files: names, seen }
}

/// The texts of files as one.
pub(super) fn joined(files: &[SourceFile]) -> String {
    match files {
        [file] => file.text.clone(),
        files => files.iter().fold(String::new(), |mut text, file| {
            let name = Path::new(&file.name).file_name().unwrap_or_default().to_string_lossy();
            text.push_str(&format!("# {name}\n{}", file.text));
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text
        }),
    }
}

/// Several files as one: lists are joined, upstreams and providers are put together, `version` may be repeated.
fn merge(trees: Vec<Node>, walk: &mut Walk<'_>) -> Option<Node> {
    let mut trees = trees.into_iter();
    let mut merged = trees.next()?;
    for tree in trees {
        let tree_place = tree.place;
        let (Content::Mapping(all), Content::Mapping(more)) = (&mut merged.content, tree.content) else {
            walk.refuse_document(tree_place);
            return None;
        };
        for entry in more {
            match all.iter_mut().find(|before| before.key == entry.key) {
                Some(before) => {
                    if let Some(entry) = join_values(before, entry) {
                        all.push(entry);
                    }
                }
                None => all.push(entry),
            }
        }
    }
    Some(merged)
}

/// Puts the value of a key that is there already to what is there; hands it back where it cannot be.
fn join_values(before: &mut Entry, entry: Entry) -> Option<Entry> {
    match (&mut before.value.content, &entry.value.content) {
        (Content::Sequence(all), Content::Sequence(more)) if matches!(&*entry.key, "listen" | "routes") => {
            all.extend(more.iter().cloned());
            None
        }
        (Content::Mapping(all), Content::Mapping(more))
            if matches!(&*entry.key, "upstreams" | "identity") =>
        {
            all.extend(more.iter().cloned());
            None
        }
        (Content::Scalar(one), Content::Scalar(other))
            if entry.key == "version" && one.text == other.text =>
        {
            None
        }
        _ => Some(entry),
    }
}

/// A configuration whose parts were read; a part that could not be is `None`.
pub(super) struct Parts {
    pub(super) listen: Slots<Listener>,
    pub(super) admin: Option<Admin>,
    pub(super) metrics: Option<Metrics>,
    pub(super) shutdown: Shutdown,
    pub(super) upstreams: Option<Named<Upstream>>,
    pub(super) identity: Option<Named<Provider>>,
    pub(super) routes: Slots<Route>,
    pub(super) audit: Option<Audit>,
}

/// A configuration that is complete.
struct Complete {
    listen: Vec<Listener>,
    admin: Option<Admin>,
    metrics: Option<Metrics>,
    shutdown: Shutdown,
    upstreams: BTreeMap<Name, Upstream>,
    identity: BTreeMap<Name, Provider>,
    routes: Vec<Route>,
    audit: Audit,
}

impl Complete {
    fn into_config(self, loaded: Loaded) -> Config {
        let Complete { listen, admin, metrics, shutdown, upstreams, identity, routes, audit } = self;
        Config { version: 1, listen, admin, metrics, shutdown, upstreams, identity, routes, audit, loaded }
    }
}

fn read_root(node: &Node, walk: &mut Walk<'_>) -> Option<Complete> {
    let Content::Mapping(_) = &node.content else {
        walk.refuse_document(node.place);
        return None;
    };
    let mut root = walk.mapping(node, "", "a mapping")?;
    if root.required("version").is_some_and(|version: u32| version != 1) {
        root.bad_value("version", "expected 1, the only version there is");
    }
    let parts = Parts {
        listen: root.required("listen").unwrap_or_default(),
        admin: root.optional("admin"),
        metrics: root.optional("metrics"),
        shutdown: root.or("shutdown", Shutdown::default()),
        upstreams: root.required("upstreams"),
        identity: root.optional("identity"),
        routes: root.required("routes").unwrap_or_default(),
        audit: root.required("audit"),
    };
    for key in ["listen", "routes"] {
        if root.is_empty_list(key) {
            root.bad_value(key, "expected at least one");
        }
    }
    root.finish();
    check::check(&parts, walk);
    let Parts { listen, admin, metrics, shutdown, upstreams, identity, routes, audit } = parts;
    let (listen, routes) = (listen.complete()?, routes.complete()?);
    let (upstreams, audit) = (upstreams?.by_name, audit?);
    let identity = identity.map(|identity| identity.by_name).unwrap_or_default();
    Some(Complete { listen, admin, metrics, shutdown, upstreams, identity, routes, audit })
}

/// Values by name: those that were read, and the names of all that are there.
pub(super) struct Named<T> {
    pub(super) by_name: BTreeMap<Name, T>,
    pub(super) declared: Vec<String>,
}

/// What values by name are called together.
pub(super) trait Several {
    const SEVERAL: &'static str;
}

impl Several for Upstream {
    const SEVERAL: &'static str = "a mapping of names to upstreams";
}

impl Several for Provider {
    const SEVERAL: &'static str = "a mapping of names to providers";
}

impl<T: Read + Several> Read for Named<T> {
    const EXPECTED: &'static str = T::SEVERAL;

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let Content::Mapping(entries) = &node.content else {
            walk.bad_value(path, format!("expected {}", Self::EXPECTED), None);
            return None;
        };
        if entries.is_empty() {
            walk.bad_value(path, "expected at least one", None);
        }
        walk.refuse_duplicates(entries, path);
        let mut named = Named { by_name: BTreeMap::new(), declared: Vec::new() };
        for entry in entries {
            named.declared.push(entry.key.clone());
            let name = Name::parse(&entry.key);
            if name.is_none() {
                walk.bad_name(entry, path);
            }
            let value = walk.read(&entry.value, &join(path, &entry.key));
            named.by_name.extend(name.zip(value));
        }
        Some(named)
    }
}

/// What `admin` and `metrics` are.
const ADDRESS: &str = "a mapping with `address`";

/// Reads a mapping whose only key is `address`.
fn read_address(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<SocketAddr> {
    let mut mapping = walk.mapping(node, path, ADDRESS)?;
    let address = mapping.required("address");
    mapping.finish();
    address
}

impl Read for Admin {
    const EXPECTED: &'static str = ADDRESS;

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        read_address(node, path, walk).map(|address| Admin { address })
    }
}

impl Read for Metrics {
    const EXPECTED: &'static str = ADDRESS;

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        read_address(node, path, walk).map(|address| Metrics { address })
    }
}

impl Read for Shutdown {
    const EXPECTED: &'static str = "a mapping with `lameduck`, `timeout`";

    fn read(node: &Node, path: &str, walk: &mut Walk<'_>) -> Option<Self> {
        let mut shutdown = walk.mapping(node, path, Self::EXPECTED)?;
        let default = Shutdown::default();
        let read = Shutdown {
            lameduck: shutdown.or("lameduck", default.lameduck),
            timeout: shutdown.positive("timeout", default.timeout),
        };
        shutdown.finish();
        Some(read)
    }
}
