//! `sealaudit verify` against what no verifier can do without: decompressing the bytes and hashing them once.

use std::{env, path::Path, process::Stdio, time::Instant};

use anyhow::{Context, ensure};

use crate::{
    cores::{MEASURED, bound},
    median::median,
    pipeline::segments,
    report::{Line, Report},
};

const ROUNDS: usize = 5;

/// Measures both on the store that `pipeline` left in `folder`.
pub(crate) fn measure(folder: &Path) -> anyhow::Result<Report> {
    let store = folder.join("store");
    let segments = segments(&store)?;
    let sealaudit = env::current_exe()?.with_file_name("sealaudit");
    let mut verify = bound(MEASURED, sealaudit);
    verify.arg("verify").arg(&store).arg("--keys").arg(folder.join("gateway.pub"));
    let mut anchor = bound(MEASURED, "sh");
    anchor.args(["-c", "zstd -dc -- \"$@\" | sha256sum", "sh"]).args(&segments);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(seconds(&mut verify)?);
        theirs.push(seconds(&mut anchor)?);
    }
    let bytes: u64 =
        segments.iter().map(|path| path.metadata().map(|file| file.len())).sum::<Result<_, _>>()?;
    let (ours, theirs) = (median(ours), median(theirs));
    Ok(Report {
        title: "sealaudit verify",
        how: format!(
            "{} segments, {:.0} MiB; both on core {MEASURED} alone, {ROUNDS} rounds in turn, medians of the wall clock",
            segments.len(),
            bytes as f64 / f64::from(1 << 20)
        ),
        lines: vec![
            Line {
                what: "sealaudit verify STORE".into(),
                figure: format!("{ours:.2} s"),
                ratio: Some(ours / theirs),
                target: "at most 1.3 ×",
            },
            Line::anchor("zstd -dc FILES | sha256sum", format!("{theirs:.2} s")),
        ],
    })
}

fn seconds(command: &mut std::process::Command) -> anyhow::Result<f64> {
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    let seconds = started.elapsed().as_secs_f64();
    ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(seconds)
}
