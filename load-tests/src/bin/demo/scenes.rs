//! What is shown, in which order, and what must hold in each scene.

use std::time::Instant;

use anyhow::{Context, ensure};
use audit_writer::ids::SegmentNo;
use load_tests::{
    folder,
    load::{self, Plan, Tally},
    services::Service,
};

use crate::{
    duckdb, forge,
    screen::{self, good, heading, say},
    stage::{GATEWAY, Stage},
};

const CONNECTIONS: usize = 32;
/// Rounds in each wave, of about 100 requests.
const ROUNDS: usize = 30;
const WAVES: usize = 3;
/// What a forger would rather have on the record: that a payment was declined is worth money to somebody.
const DECLINED: &str = r#""status":402"#;
/// In the middle of the log: neither the first segment nor the last.
const FORGED_SEGMENT: SegmentNo = SegmentNo(1);
const ACCEPTED: &str = r#""status":201"#;

/// Plays all of it.
pub(crate) async fn play() -> anyhow::Result<()> {
    let started = Instant::now();
    let stage = Stage::set()?;

    heading(1, "three services, and the gateway in front of them");
    screen::command("demo-services");
    let orders = stage.service(Service::Orders).await?;
    let users = stage.service(Service::Users).await?;
    let payments = stage.service(Service::Payments).await?;
    say("orders, users and payments listen on 127.0.0.1:9001, 9002 and 9003");
    screen::command("sealgate run -c conf/quickstart.yaml");
    let mut gateway = stage.gateway().await?;
    say(format!("ready on http://{GATEWAY}/, with a new key, a new log, and a directory as its store"));

    heading(2, "real traffic: all methods and framings, failures, clients that hang up");
    let mut sent = Tally::default();
    for wave in 1..=WAVES {
        sent.merge(traffic(wave).await?);
        if wave < WAVES {
            screen::command(&format!("kill -TERM {}; sealgate run -c conf/quickstart.yaml", gateway.id()));
            stage.stop(gateway).await?;
            gateway = stage.gateway().await?;
            say("a restart: it drained, sealed and shipped what it had, and goes on with the same log");
        }
    }
    table(&sent);

    heading(3, "what the log says: the last records of one route");
    say("Written and flushed within 20 ms; not sealed yet, and they say so.");
    let data = path(&stage.data())?;
    stage.show("sealaudit", &["tail", &data, "-n", "6", "--route", "payments", "--format", "table"]).await?;

    heading(4, "the proof");
    screen::command(&format!("kill -TERM {}   # sealgate drains, seals, ships, and ends", gateway.id()));
    stage.stop(gateway).await?;
    drop((orders, users, payments));
    let (store, keys) = (path(&stage.store())?, path(&stage.public_key())?);
    checked(&stage, &["verify", &store, "--keys", &keys], 0).await?;

    heading(5, "a forgery, as good as it gets without the key");
    forgery(&stage, &store, &keys).await?;

    heading(6, "the same counts from an engine that knows nothing of Sealgate");
    let query = duckdb::query(&stage.store());
    screen::output(&duckdb::show(&query).await?);
    let (rows, on_the_log) = duckdb::compare(&query, &sent).await?;
    good(format!(
        "all {rows} rows equal the load generator's own counts: {} sent, {on_the_log} on the log",
        sent.total()
    ));

    heading(7, "now you");
    say(NOW_YOU);
    drop(stage);
    say(format!("The demo took {:.0} s, and has removed what it made.", started.elapsed().as_secs_f64()));
    Ok(())
}

async fn traffic(wave: usize) -> anyhow::Result<Tally> {
    let started = Instant::now();
    let plan = Plan::of_the_demo(ROUNDS);
    let progress = screen::progress(plan.len());
    let sent = load::send(plan, GATEWAY, CONNECTIONS, progress).await;
    let sent = sent.context("the traffic did not go as planned")?;
    let seconds = started.elapsed().as_secs_f64();
    say(format!("wave {wave}: {} requests over {CONNECTIONS} connections in {seconds:.1} s", sent.total()));
    Ok(sent)
}

fn table(sent: &Tally) {
    say(format!("\nAll {} as the client saw them:", sent.total()));
    let head = ["route", "status", " requests", " median", " p99", " longest"];
    let rows = sent.rows().into_iter().map(|row| {
        let status = row.status.map_or("client hung up".to_owned(), |status| status.to_string());
        let mut cells = vec![row.route.unwrap_or("(no route)").to_owned(), status, row.count.to_string()];
        cells.extend([row.median, row.p99, row.longest].map(screen::time));
        cells
    });
    screen::table(&head, rows);
}

async fn forgery(stage: &Stage, store: &str, keys: &str) -> anyhow::Result<()> {
    let forged = path(&stage.forged())?;
    screen::command(&format!("cp -r {store} {forged}"));
    folder::copy(&stage.store(), &stage.forged())?;
    let forgery = forge::forge(&stage.forged(), FORGED_SEGMENT, "payments", DECLINED, ACCEPTED)?;
    say(format!(
        "In the copy, record {} in segment {FORGED_SEGMENT} is changed: a declined payment becomes an accepted one.",
        forgery.seq
    ));
    screen::difference(&format!("…{DECLINED}…"), &format!("…{ACCEPTED}…"));
    say(
        "Its frame is compressed anew, the index rebuilt, the chain of segments mended. A reader sees nothing:",
    );
    stage.show("sealaudit", &["show", &forged, &forgery.request_id]).await?;
    say("\nBut the tree over all records has another root now, and the old one was signed:");
    let verify = ["verify", &forged, "--keys", keys];
    let verdict = checked(stage, &verify, 1).await?;
    let range = verdict.lines().find_map(seqs).context("verify did not say which records")?;
    ensure!(
        range.0 <= forgery.seq && forgery.seq <= range.1,
        "verify named records {range:?}, not {}",
        forgery.seq
    );
    good(format!("found: exit code 1, and the place is named: records {} to {}", range.0, range.1));
    Ok(())
}

/// The records that a `FINDING changed` line names: `seq A..B`.
fn seqs(line: &str) -> Option<(u64, u64)> {
    let (_, range) = line.strip_prefix("FINDING changed ")?.split_once(" seq ")?;
    let (first, rest) = range.split_once("..")?;
    let last = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// Runs `sealaudit`, shows what it says, and holds its exit code against what it must be.
async fn checked(stage: &Stage, arguments: &[&str], expected: i32) -> anyhow::Result<String> {
    let (text, code) = stage.run("sealaudit", arguments).await?;
    screen::output(&text);
    ensure!(code == expected, "sealaudit ended with exit code {code}, and {expected} was expected");
    Ok(text)
}

fn path(path: &std::path::Path) -> anyhow::Result<String> {
    Ok(path.to_str().context("the checkout's path is not UTF-8")?.to_owned())
}

const NOW_YOU: &str = "  export PATH=$PWD/target/debug:$PATH
  demo-services &
  sealgate run -c conf/quickstart.yaml &
  curl -i http://127.0.0.1:8080/orders/42              # its x-request-id is the name of its record
  sealaudit search sealgate-data --path '/orders/*'    # found before it is sealed: `unsealed`
  kill %2; wait %2                                     # seals, and ships to the store
  sealaudit verify sealgate-data/store --keys sealgate-data/gateway.pub
  kill %1";
