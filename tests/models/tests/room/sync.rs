//! What of `tokio::sync` the room uses, each a mutex and a list of who waits.

use std::future::poll_fn;
use std::task::{Poll, Waker};

use loom::sync::{Mutex, MutexGuard};

#[derive(Debug)]
pub struct AcquireError;

#[derive(Debug)]
pub enum TryAcquireError {
    Closed,
    NoPermits,
}

#[derive(Debug)]
pub struct Semaphore(Mutex<Permits>);

#[derive(Debug)]
struct Permits {
    left: usize,
    closed: bool,
    waiting: Vec<Waker>,
}

#[derive(Debug)]
pub struct SemaphorePermit<'a>(&'a Semaphore, u32);

impl SemaphorePermit<'_> {
    pub fn forget(mut self) {
        self.1 = 0;
    }
}

impl Drop for SemaphorePermit<'_> {
    fn drop(&mut self) {
        if self.1 > 0 {
            self.0.add_permits(self.1 as usize);
        }
    }
}

impl Semaphore {
    pub fn new(left: usize) -> Self {
        Self(Mutex::new(Permits { left, closed: false, waiting: Vec::new() }))
    }

    pub fn try_acquire_many(&self, count: u32) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.acquire(count, None)
    }

    pub async fn acquire_many(&self, count: u32) -> Result<SemaphorePermit<'_>, AcquireError> {
        poll_fn(|context| match self.acquire(count, Some(context.waker())) {
            Ok(permit) => Poll::Ready(Ok(permit)),
            Err(TryAcquireError::Closed) => Poll::Ready(Err(AcquireError)),
            Err(TryAcquireError::NoPermits) => Poll::Pending,
        })
        .await
    }

    fn acquire(
        &self,
        count: u32,
        waker: Option<&Waker>,
    ) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        let mut permits = self.0.lock().unwrap();
        if permits.closed {
            return Err(TryAcquireError::Closed);
        }
        let Some(left) = permits.left.checked_sub(count as usize) else {
            permits.waiting.extend(waker.cloned());
            return Err(TryAcquireError::NoPermits);
        };
        permits.left = left;
        Ok(SemaphorePermit(self, count))
    }

    pub fn add_permits(&self, count: usize) {
        let mut permits = self.0.lock().unwrap();
        permits.left += count;
        wake(std::mem::take(&mut permits.waiting));
    }

    pub fn close(&self) {
        let mut permits = self.0.lock().unwrap();
        permits.closed = true;
        wake(std::mem::take(&mut permits.waiting));
    }

    pub fn is_closed(&self) -> bool {
        self.0.lock().unwrap().closed
    }
}

fn wake(waiting: Vec<Waker>) {
    waiting.into_iter().for_each(Waker::wake);
}

pub mod watch {
    use std::ops::Deref;

    use loom::sync::Arc;

    use super::{Mutex, MutexGuard, Poll, Waker, poll_fn, wake};

    #[derive(Debug)]
    pub struct Sender<T>(Arc<Mutex<Watched<T>>>);

    #[derive(Debug)]
    pub struct Receiver<T>(Arc<Mutex<Watched<T>>>);

    #[derive(Debug)]
    struct Watched<T> {
        value: T,
        waiting: Vec<Waker>,
    }

    #[derive(Debug)]
    pub struct RecvError;

    pub struct Ref<'a, T>(MutexGuard<'a, Watched<T>>);

    impl<T> Deref for Ref<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.0.value
        }
    }

    impl<T> Sender<T> {
        pub fn new(value: T) -> Self {
            Self(Arc::new(Mutex::new(Watched { value, waiting: Vec::new() })))
        }

        pub fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
            let mut watched = self.0.lock().unwrap();
            let modified = modify(&mut watched.value);
            if modified {
                wake(std::mem::take(&mut watched.waiting));
            }
            modified
        }

        pub fn borrow(&self) -> Ref<'_, T> {
            Ref(self.0.lock().unwrap())
        }

        pub fn subscribe(&self) -> Receiver<T> {
            Receiver(Arc::clone(&self.0))
        }
    }

    impl<T> Receiver<T> {
        pub async fn wait_for(
            &mut self,
            mut wanted: impl FnMut(&T) -> bool,
        ) -> Result<Ref<'_, T>, RecvError> {
            poll_fn(|context| {
                let mut watched = self.0.lock().unwrap();
                if wanted(&watched.value) {
                    return Poll::Ready(());
                }
                watched.waiting.push(context.waker().clone());
                Poll::Pending
            })
            .await;
            Ok(Ref(self.0.lock().unwrap()))
        }
    }
}
