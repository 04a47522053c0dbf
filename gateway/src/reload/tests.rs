use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Mutex;

use super::*;

/// A part that serves what stands in its files, all of which must hold the same text.
struct Pair {
    files: Vec<PathBuf>,
    serves: Mutex<String>,
    reads: Mutex<u32>,
}

impl Pair {
    fn new(files: &[&Path]) -> Arc<Pair> {
        let pair = Pair {
            files: files.iter().map(|file| (*file).to_owned()).collect(),
            serves: Mutex::default(),
            reads: Mutex::default(),
        };
        pair.reload().unwrap();
        Arc::new(pair)
    }

    fn serves(&self) -> String {
        self.serves.lock().unwrap().clone()
    }
}

impl Reloadable for Pair {
    fn what(&self) -> String {
        "a pair".to_owned()
    }

    fn files(&self) -> Vec<PathBuf> {
        self.files.clone()
    }

    fn reload(&self) -> Result<(), String> {
        *self.reads.lock().unwrap() += 1;
        let texts: Vec<String> =
            self.files.iter().map(|file| fs::read_to_string(file).unwrap_or_default()).collect();
        if texts[0].is_empty() || texts.iter().any(|text| *text != texts[0]) {
            return Err("they do not belong together".to_owned());
        }
        *self.serves.lock().unwrap() = texts[0].clone();
        Ok(())
    }
}

struct Running {
    ok: IntCounter,
    failed: IntCounter,
    waker: Waker,
    _reloading: Reloading,
}

fn start(parts: Vec<Arc<dyn Reloadable>>) -> Running {
    let [ok, failed] = ["ok", "failed"].map(|name| IntCounter::new(name, "x").unwrap());
    let (waker, wakes) = waker();
    let reloader = Reloader::new(parts, [ok.clone(), failed.clone()]);
    let _reloading = reloader.start(waker.clone(), wakes).unwrap();
    Running { ok, failed, waker, _reloading }
}

/// Waits until something holds.
fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Writes beside the file, and renames: as careful writers do.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

#[test]
fn what_changes_is_read_again_and_what_does_not_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (directory.path().join("one"), directory.path().join("other"));
    fs::write(&one, "1").unwrap();
    fs::write(&other, "1").unwrap();
    let (first, second) = (Pair::new(&[&one]), Pair::new(&[&other]));
    let running = start(vec![first.clone(), second.clone()]);
    fs::write(&one, "2").unwrap();
    wait_for("what was written in place serves", || first.serves() == "2");
    replace(&one, "3");
    wait_for("what was put in its place serves", || first.serves() == "3");
    wait_for("both are counted", || running.ok.get() == 2);
    assert_eq!((*second.reads.lock().unwrap(), running.failed.get()), (1, 0));
}

#[test]
fn two_files_that_are_written_one_after_the_other_are_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = (directory.path().join("cert"), directory.path().join("key"));
    fs::write(&cert, "1").unwrap();
    fs::write(&key, "1").unwrap();
    let pair = Pair::new(&[&cert, &key]);
    let running = start(vec![pair.clone()]);
    replace(&cert, "2");
    wait_for("it is tried in between", || *pair.reads.lock().unwrap() == 2);
    replace(&key, "2");
    wait_for("the pair serves", || pair.serves() == "2");
    wait_for("it is counted", || running.ok.get() == 1);
    assert_eq!(running.failed.get(), 0);
}

#[test]
fn what_cannot_be_read_leaves_what_serves_and_is_counted_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "1").unwrap();
    let part = Pair::new(&[&file]);
    let running = start(vec![part.clone()]);
    fs::write(&file, "").unwrap();
    wait_for("the failure is counted", || running.failed.get() == 1);
    assert_eq!(part.serves(), "1");
    fs::remove_file(&file).unwrap();
    running.waker.wake(Wake::Changed);
    let reads = *part.reads.lock().unwrap();
    wait_for("it is tried again", || *part.reads.lock().unwrap() > reads);
    fs::write(&file, "2").unwrap();
    wait_for("it serves again", || part.serves() == "2");
    wait_for("that is counted", || running.ok.get() == 1);
    assert_eq!(running.failed.get(), 1, "the same failure is told once");
}

#[test]
fn a_swapped_link_to_a_directory_is_a_change() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    // As Kubernetes mounts a secret.
    for (version, text) in [("..v1", "1"), ("..v2", "2"), ("..v3", "3")] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("tls.crt"), text).unwrap();
    }
    symlink("..v1", at("..data")).unwrap();
    symlink("..data/tls.crt", at("tls.crt")).unwrap();
    let part = Pair::new(&[&at("tls.crt")]);
    let running = start(vec![part.clone()]);
    for (version, text) in [("..v2", "2"), ("..v3", "3")] {
        symlink(version, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        wait_for("the new version serves", || part.serves() == text);
    }
    fs::remove_dir_all(at("..v1")).unwrap();
    // A file behind links is watched as well.
    fs::write(at("..v3").join("tls.crt"), "4").unwrap();
    wait_for("what was written behind the links serves", || part.serves() == "4");
    wait_for("all are counted", || running.ok.get() == 3);
}

#[test]
fn a_file_may_come_to_be_and_its_directory_be_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tls/file");
    fs::create_dir(directory.path().join("tls")).unwrap();
    fs::write(&file, "1").unwrap();
    let part = Pair::new(&[&file]);
    let running = start(vec![part.clone()]);
    fs::remove_dir_all(directory.path().join("tls")).unwrap();
    wait_for("the failure is counted", || running.failed.get() == 1);
    fs::create_dir(directory.path().join("tls")).unwrap();
    fs::write(&file, "2").unwrap();
    // Whoever makes directories anew sends the signal, or waits for a minute.
    running.waker.hang_up();
    wait_for("it serves again", || part.serves() == "2");
    fs::write(&file, "3").unwrap();
    wait_for("the new directory is watched", || part.serves() == "3");
}

#[test]
fn a_hang_up_reads_everything_and_a_read_is_no_change() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "1").unwrap();
    let (first, second) = (Pair::new(&[&file]), Pair::new(&[&file]));
    let running = start(vec![first.clone(), second.clone()]);
    for round in 2..5 {
        running.waker.hang_up();
        wait_for("both are read", || {
            *first.reads.lock().unwrap() == round && *second.reads.lock().unwrap() == round
        });
        wait_for("it is counted", || running.ok.get() == u64::from(round) - 1);
    }
    assert_eq!(running.failed.get(), 0);
    drop(running);
    assert_eq!(*first.reads.lock().unwrap(), 4, "nobody was woken by what was read");
}
