//! Credit: how many bytes the other side may send.

/// The receiver's account. What it has granted and not yet got, and what it got and the
/// application still holds, together are the window; a sender may overdraw by one batch.
#[derive(Debug)]
pub(super) struct CreditWindow {
    window: i64,
    held: i64,
    granted: i64,
}

impl CreditWindow {
    pub fn new(window_bytes: usize) -> Self {
        Self { window: signed(window_bytes).max(1), held: 0, granted: 0 }
    }

    /// What a new stream begins with; the application may still hold bytes of the one before.
    pub fn open(&mut self) -> u64 {
        self.granted = (self.window - self.held).max(0);
        self.granted.unsigned_abs()
    }

    /// Bytes have arrived; false where the sender had no credit left.
    #[must_use]
    pub fn receive(&mut self, len: usize) -> bool {
        let allowed = self.granted > 0;
        self.granted -= signed(len);
        self.held += signed(len);
        allowed
    }

    /// The application is done with bytes.
    pub fn release(&mut self, len: usize) {
        self.held = (self.held - signed(len)).max(0);
    }

    /// What to grant now: at least a quarter of the window, or nothing.
    pub fn due(&mut self) -> Option<u64> {
        let due = self.window - self.held - self.granted;
        if due <= 0 || due < self.window / 4 {
            return None;
        }
        self.granted += due;
        Some(due.unsigned_abs())
    }
}

/// The sender's account.
#[derive(Debug, Default)]
pub(super) struct Credit {
    left: i64,
}

impl Credit {
    pub fn add(&mut self, bytes: u64) {
        self.left = self.left.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub fn spend(&mut self, len: usize) {
        self.left -= signed(len);
    }

    pub fn left(&self) -> usize {
        usize::try_from(self.left).unwrap_or(0)
    }
}

fn signed(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}
