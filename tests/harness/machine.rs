//! A machine booted by systemd: a container over this machine's own files, none of which it can change, without a
//! network. Takes root, an overlay and `systemd-nspawn`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use super::node::GRAPEVINE;
use super::tools::skipped;
use super::until;

/// The machine. Dropping it pulls the plug.
#[derive(Debug)]
pub struct Machine {
    folder: TempDir,
    process: Option<Child>,
    init: u32,
}

impl Machine {
    /// Boots with the binary under test in `/usr/local/bin` and the unit in place, not started. None where that is not
    /// permitted, which is said.
    pub fn boot(unit: &Path) -> Option<Self> {
        let mut machine = Machine { folder: TempDir::new().unwrap(), process: None, init: 0 };
        let root = machine.overlay()?;
        std::fs::copy(unit, root.join("etc/systemd/system/grapevine.service")).unwrap();
        // An empty name makes systemd choose one for this boot.
        std::fs::write(root.join("etc/machine-id"), "").unwrap();
        let mut nspawn = Command::new("systemd-nspawn");
        nspawn.args([
            "--quiet",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--console=pipe",
        ]);
        nspawn.arg(format!("--bind-ro={GRAPEVINE}:/usr/local/bin/grapevine")).arg("--directory").arg(&root);
        let output = || std::fs::File::create(machine.folder.path().join("console")).unwrap();
        nspawn.stdin(Stdio::null()).stdout(output()).stderr(output());
        let Ok(process) = nspawn.spawn() else {
            skipped("there is no `systemd-nspawn`; run `cargo xtask tools`");
            return None;
        };
        let nspawn = process.id();
        machine.process = Some(process);
        match until("the machine's first process", || machine.first_process(nspawn)) {
            Ok(init) => machine.init = init,
            Err(console) => {
                skipped(&format!("no container can be booted here: {console}"));
                return None;
            }
        }
        let state = until("a booted machine", || {
            let state = machine.run(&["systemctl", "is-system-running"]);
            let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
            ["running", "degraded"].contains(&state.as_str()).then_some(state)
        });
        eprintln!("booted: {state}");
        Some(machine)
    }

    /// This machine's files, with a layer in memory over them that takes what is written.
    fn overlay(&self) -> Option<PathBuf> {
        let (layer, root) = (self.folder.path().join("layer"), self.folder.path().join("root"));
        std::fs::create_dir(&layer).unwrap();
        std::fs::create_dir(&root).unwrap();
        let mount = |arguments: &[&str], target: &Path| {
            let output = Command::new("mount").args(arguments).arg(target).output();
            output.is_ok_and(|output| output.status.success())
        };
        let layers = format!("lowerdir=/,upperdir={0}/upper,workdir={0}/work", layer.display());
        let mounted = mount(&["-t", "tmpfs", "none"], &layer)
            && ["upper", "work"].iter().all(|name| std::fs::create_dir(layer.join(name)).is_ok())
            && mount(&["-t", "overlay", "-o", &layers, "none"], &root);
        if !mounted {
            skipped("mounting an overlay over `/` is not permitted");
        }
        mounted.then_some(root)
    }

    /// The process that is number 1 inside; what was printed if the container has ended.
    fn first_process(&mut self, nspawn: u32) -> Option<Result<u32, String>> {
        if self.process.as_mut()?.try_wait().unwrap().is_some() {
            return Some(
                Err(std::fs::read_to_string(self.folder.path().join("console")).unwrap_or_default()),
            );
        }
        let children = std::fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
        let child = children.split_whitespace().next()?.parse().ok()?;
        let name = std::fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
        (name.trim() == "systemd").then_some(Ok(child))
    }

    /// Runs a command inside.
    pub fn run(&self, command: &[&str]) -> Output {
        let mut enter = Command::new("nsenter");
        enter
            .arg("--target")
            .arg(self.init.to_string())
            .args(["--mount", "--uts", "--ipc", "--net", "--pid"]);
        enter.arg("--").args(command).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command that must succeed, and gives back what it prints.
    pub fn output_of(&self, command: &[&str]) -> String {
        let output = self.run(command);
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{command:?}: {}{}", said[0], said[1]);
        said[0].clone()
    }

    /// A property of the unit, as systemd sees it.
    pub fn property(&self, name: &str) -> String {
        self.output_of(&["systemctl", "show", "--value", "-p", name, "grapevine"]).trim().to_owned()
    }

    /// What the unit logged.
    pub fn journal(&self) -> String {
        self.output_of(&["journalctl", "--no-pager", "--output=cat", "--unit=grapevine"])
    }

    /// A path inside, as it is seen from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join("root").join(inside.trim_start_matches('/'))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Its first process takes all others with it. Whoever kills the container's keeper alone leaves them behind.
            if self.init != 0 {
                let _ = Command::new("kill").args(["-KILL", &self.init.to_string()]).status();
            } else {
                let _ = process.kill();
            }
            let _ = process.wait();
        }
        for name in ["root", "layer"] {
            let path = self.folder.path().join(name);
            let _ = Command::new("umount").arg("--lazy").arg(path).stderr(Stdio::null()).status();
        }
    }
}
