//! A disk that can lose its power: an ext4 file system in a file, on a loop device, mounted in a
//! namespace that a process of ours holds open. Shutting the file system down without flushing its
//! journal loses what was not synced, as a power cut does; mounted anew, it shows what is left.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What the holder does: it mounts, answers each line, and unmounts when its input ends, however
/// that comes; the loop device goes with the mount. `X` is `EXT4_IOC_SHUTDOWN` (`_IOR('X', 125, __u32)`) with `NOLOGFLUSH`.
const HOLDER: &str = r#"
import fcntl, os, struct, subprocess, sys
image, home = sys.argv[1:]
def mount(): subprocess.run(["mount", "-o", "loop", image, home], check=True)
def unmount(): subprocess.run(["umount", home], check=True)
mount()
print("ok", flush=True)
for line in sys.stdin:
    if line == "cut\n":
        fd = os.open(home, os.O_RDONLY)
        fcntl.ioctl(fd, 0x8004587D, struct.pack("I", 2))
        os.close(fd)
    elif line == "again\n":
        unmount()
        mount()
    print("ok", flush=True)
unmount()
"#;

/// The mounted disk.
#[derive(Debug)]
pub struct PowerDisk {
    holder: Child,
    /// The holder unmounts and ends when this is closed.
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    path: PathBuf,
}

impl PowerDisk {
    /// Makes a file system of so many bytes in the file `image` and mounts it at a directory that is
    /// there.
    ///
    /// # Errors
    /// What is missing: `mkfs.ext4`, `python3`, a loop device, or the right to mount.
    pub fn mount(image: &Path, path: &Path, bytes: u64) -> io::Result<Self> {
        std::fs::File::create(image)?.set_len(bytes)?;
        let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image).output()?;
        if !made.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
        }
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "python3", "-c", HOLDER])
            .args([image, path])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = holder.stdin.take();
        let stdout = BufReader::new(holder.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
        // An error drops the disk, and with it the holder.
        let mut disk = Self { holder, stdin, stdout, path: path.to_owned() };
        disk.answered()
            .map_err(|_| io::Error::other("no loop device, or no right to mount one"))?;
        Ok(disk)
    }

    /// What runs a command where the disk is mounted: the command is to follow as arguments.
    pub fn enter(&self, command: &Path) -> Command {
        let mut enter = Command::new("nsenter");
        let target = self.holder.id().to_string();
        enter.args(["--target", &target, "--mount", "--"]).arg(command);
        enter
    }

    /// The mounted directory as this process reaches it.
    pub fn home(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.path.strip_prefix("/").unwrap_or(&self.path))
    }

    /// From now on nothing more reaches the disk, and what was not synced is lost.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn cut(&mut self) -> io::Result<()> {
        self.ask("cut\n")
    }

    /// Mounts it anew. Nothing may be open in it.
    ///
    /// # Errors
    /// Where something is, or the file system is broken.
    pub fn again(&mut self) -> io::Result<()> {
        self.ask("again\n")
    }

    fn ask(&mut self, line: &str) -> io::Result<()> {
        let stdin = self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        stdin.write_all(line.as_bytes())?;
        self.answered()
    }

    fn answered(&mut self) -> io::Result<()> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        if line == "ok\n" { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl Drop for PowerDisk {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It fails only where it has ended and been waited for.
        let _ = self.holder.wait();
    }
}
