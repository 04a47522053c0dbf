//! What the demo is played on: the programs, their ports and the folder that all of it lives in.

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use load_tests::{
    folder::Folder,
    process::{Process, ProcessError},
    services::Service,
};

use crate::screen;

/// As in `conf/quickstart.yaml`.
pub(crate) const GATEWAY: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9912);
const QUICKSTART: &str = "conf/quickstart.yaml";
const FOLDER: &str = ".demo";
const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(40);

/// The folder, and the programs that were built with this one.
pub(crate) struct Stage {
    programs: PathBuf,
    folder: Folder,
}

impl Stage {
    pub(crate) fn set() -> anyhow::Result<Stage> {
        ensure!(Path::new(QUICKSTART).is_file(), "{QUICKSTART} is not here: run `make demo` in the checkout");
        let own = env::current_exe().context("cannot find the programs beside this one")?;
        let programs = own.parent().context("this program is in no folder")?.to_owned();
        let folder = Folder::fresh(Path::new(FOLDER)).with_context(|| format!("cannot make {FOLDER}"))?;
        let stage = Stage { programs, folder };
        for name in ["demo-services", "sealgate", "sealaudit"] {
            let program = stage.program(name);
            ensure!(program.is_file(), "{} is missing: run `make demo`, which builds it", program.display());
        }
        Ok(stage)
    }

    /// Where a program of this build is.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// The gateway's data: key, spool, store.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.data().join("store")
    }

    pub(crate) fn forged(&self) -> PathBuf {
        self.folder.path().join("forged")
    }

    pub(crate) fn public_key(&self) -> PathBuf {
        self.data().join("gateway.pub")
    }

    pub(crate) async fn service(&self, service: Service) -> anyhow::Result<Process> {
        let mut command = Command::new(self.program("demo-services"));
        command.args([service.name(), "--until-stdin-closes"]);
        let mut process = Process::start(service.name(), &mut command, &self.log_of(service.name()))?;
        process.ready(SocketAddr::new(GATEWAY.ip(), service.port()), "/1", START).await?;
        Ok(process)
    }

    pub(crate) async fn gateway(&self) -> anyhow::Result<Process> {
        let mut command = Command::new(self.program("sealgate"));
        // An absolute path: those in the configuration are relative to the file.
        let data = std::path::absolute(self.data())?;
        command.args(["run", "-c", QUICKSTART]).env("SEALGATE_DATA", data);
        let mut process = Process::start("sealgate", &mut command, &self.log_of("sealgate"))?;
        process.ready(METRICS, "/readyz", START).await?;
        Ok(process)
    }

    /// Stops the gateway in order: it drains, seals and ships before it ends.
    pub(crate) async fn stop(&self, gateway: Process) -> anyhow::Result<()> {
        let status = match gateway.stop(STOP).await {
            Ok(status) => status,
            Err(error @ ProcessError::Late { .. }) => {
                return Err(error).context("the clean stop was not clean");
            }
            Err(error) => return Err(error.into()),
        };
        ensure!(status.success(), "sealgate stopped with {status}");
        Ok(())
    }

    /// Runs a program of this build as one would type it: it writes to the terminal itself, and must end well.
    pub(crate) async fn show(&self, name: &str, arguments: &[&str]) -> anyhow::Result<()> {
        screen::command(&format!("{name} {}", arguments.join(" ")));
        let mut command = tokio::process::Command::new(self.program(name));
        let status = command.args(arguments).kill_on_drop(true).status().await;
        let status = status.with_context(|| format!("cannot run {name}"))?;
        ensure!(status.success(), "{name} ended with {status}");
        Ok(())
    }

    /// Runs a program of this build, shown as one would type it, and returns its output and exit code.
    pub(crate) async fn run(&self, name: &str, arguments: &[&str]) -> anyhow::Result<(String, i32)> {
        screen::command(&format!("{name} {}", arguments.join(" ")));
        let output = tokio::process::Command::new(self.program(name))
            .args(arguments)
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("cannot run {name}"))?;
        let mut text =
            String::from_utf8(output.stdout).with_context(|| format!("{name} did not print text"))?;
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        let Some(code) = output.status.code() else { bail!("{name} ended with {}", output.status) };
        Ok((text, code))
    }

    fn log_of(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }
}
