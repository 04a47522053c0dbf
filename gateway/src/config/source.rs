//! Where a configuration comes from: a file, a directory of files, standard input, or a text made in code.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::{ConfigError, ErrorKind, Place};

/// The largest file that is read.
const MAX_BYTES: u64 = 4 << 20;

/// The most files of one directory.
const MAX_FILES: usize = 256;

/// One file of a configuration.
#[derive(Debug, Clone)]
pub(super) struct SourceFile {
    /// As it was named, for errors; `-` for standard input.
    pub(super) name: String,
    /// Where its relative paths begin: absolute.
    pub(super) directory: PathBuf,
    /// Its text; empty when it could not be read.
    pub(super) text: String,
}

/// Reads the configuration at `path`: a file, a directory's `*.yaml` in the order of their names, or `-`.
pub(super) fn read(path: &Path, errors: &mut Vec<ConfigError>) -> Vec<SourceFile> {
    if path == Path::new("-") {
        return vec![read_from(io::stdin(), "-".into(), PathBuf::new(), 0, errors)];
    }
    if !path.is_dir() {
        return vec![read_file(path, 0, errors)];
    }
    let mut files = match list(path) {
        Ok(files) => files,
        Err(error) => {
            refuse(errors, 0, 1, 1, "unreadable", error.to_string());
            return vec![named(path)];
        }
    };
    files.sort();
    if files.is_empty() {
        refuse(errors, 0, 1, 1, "nothing here", "expected at least one file `*.yaml` in this directory");
        return vec![named(path)];
    }
    if files.len() > MAX_FILES {
        refuse(errors, 0, 1, 1, "too many files", format!("expected at most {MAX_FILES}"));
        return vec![named(path)];
    }
    (0u16..).zip(&files).map(|(index, file)| read_file(file, index, errors)).collect()
}

/// A text made in code, whose relative paths begin at the working directory.
pub(super) fn text(name: &str, text: String, errors: &mut Vec<ConfigError>) -> SourceFile {
    checked(text.into_bytes(), name.to_owned(), PathBuf::new(), 0, errors)
}

/// The files that count: `*.yaml`, but none that is hidden.
fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "yaml") && path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

fn named(path: &Path) -> SourceFile {
    SourceFile { name: path.display().to_string(), directory: PathBuf::new(), text: String::new() }
}

fn read_file(path: &Path, index: u16, errors: &mut Vec<ConfigError>) -> SourceFile {
    let name = path.display().to_string();
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    match File::open(path) {
        Ok(file) => read_from(file, name, directory, index, errors),
        Err(error) => {
            refuse(errors, index, 1, 1, "unreadable", error.to_string());
            named(path)
        }
    }
}

fn read_from(
    reader: impl Read,
    name: String,
    directory: PathBuf,
    index: u16,
    errors: &mut Vec<ConfigError>,
) -> SourceFile {
    let mut bytes = Vec::new();
    if let Err(error) = reader.take(MAX_BYTES + 1).read_to_end(&mut bytes) {
        refuse(errors, index, 1, 1, "unreadable", error.to_string());
        bytes.clear();
    }
    checked(bytes, name, directory, index, errors)
}

/// Refuses what is too large or not text, before any parser sees it.
fn checked(
    bytes: Vec<u8>,
    name: String,
    directory: PathBuf,
    index: u16,
    errors: &mut Vec<ConfigError>,
) -> SourceFile {
    let directory =
        std::path::absolute(if directory.as_os_str().is_empty() { Path::new(".") } else { &directory })
            .unwrap_or(directory);
    let mut file = SourceFile { name, directory, text: String::new() };
    if bytes.len() as u64 > MAX_BYTES {
        refuse(errors, index, 1, 1, "too large", format!("expected at most {} MiB", MAX_BYTES >> 20));
        return file;
    }
    let (valid, good) = match String::from_utf8(bytes) {
        Ok(text) => (true, text),
        Err(error) => {
            let until = error.utf8_error().valid_up_to();
            let mut bytes = error.into_bytes();
            bytes.truncate(until);
            (false, String::from_utf8_lossy(&bytes).into_owned())
        }
    };
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}');
    if let Some(at) = good.find(control) {
        let (line, column) = position(&good[..at]);
        refuse(
            errors,
            index,
            line,
            column,
            "not text",
            "expected no control characters: is this a binary file?",
        );
    } else if !valid {
        let (line, column) = position(&good);
        refuse(errors, index, line, column, "not text", "expected UTF-8: is this a binary file?");
    } else {
        file.text = good;
    }
    file
}

/// The line and column that follow this text.
fn position(before: &str) -> (usize, usize) {
    let line = before.bytes().filter(|&b| b == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

fn refuse(
    errors: &mut Vec<ConfigError>,
    file: u16,
    line: usize,
    column: usize,
    what: &str,
    rule: impl Into<String>,
) {
    errors.push(ConfigError::new(Place::new(file, line, column), ErrorKind::Document(what.into()), rule));
}
