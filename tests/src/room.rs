//! A small disk of its own for a node: a tmpfs in a mount namespace that a process of ours holds
//! open. It ends with that process, which ends with this one, so no mount is ever left behind.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// A mounted disk.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Child,
    /// The holder ends when this is closed.
    _stdin: ChildStdin,
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk of so many bytes at a directory that is there.
    ///
    /// # Errors
    /// What the system says; it may not let this user mount anything.
    pub fn mount(path: &Path, bytes: u64) -> io::Result<Self> {
        let script = "mount -t tmpfs -o mode=700,size=\"$1\" takt-test \"$2\" && echo up && cat";
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
            .arg(bytes.to_string())
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut said = [0; 3];
        let stdout = holder.stdout.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let up = stdout.read_exact(&mut said);
        let stdin = holder.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let disk = Self { holder, _stdin: stdin, path: path.to_owned() };
        // An error drops the disk, and with it the holder.
        up.map(|()| disk).map_err(|_| io::Error::other("this user may not mount a tmpfs"))
    }

    /// What runs a command where the disk is mounted: the command is to follow as arguments.
    pub fn enter(&self, command: &Path) -> Command {
        let mut enter = Command::new("nsenter");
        let target = self.holder.id().to_string();
        enter.args(["--target", &target, "--mount", "--"]).arg(command);
        enter
    }

    /// Fills what is free, and returns how many bytes that were.
    ///
    /// # Errors
    /// Anything but that the disk is full.
    pub fn fill(&self) -> io::Result<u64> {
        let mut file = File::create(self.ballast())?;
        let mut len = 0;
        for block in [1 << 20, 4_096, 1] {
            let zeros = vec![0; block];
            loop {
                match file.write(&zeros) {
                    Ok(0) => break,
                    Ok(written) => len += written as u64,
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(len)
    }

    /// Makes room again.
    ///
    /// # Errors
    /// What the system says.
    pub fn make_room(&self) -> io::Result<()> {
        std::fs::remove_file(self.ballast())
    }

    /// As the holder sees it.
    fn ballast(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        let inside = self.path.strip_prefix("/").unwrap_or(&self.path);
        root.join(inside).join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Both fail only where it has ended.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
