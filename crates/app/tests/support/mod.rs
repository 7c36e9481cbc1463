//! What simulated ports have in common.
#![allow(
    dead_code,
    reason = "each test program is compiled with all of it and uses a part"
)]

pub(crate) mod reader;

use std::any::Any;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_executor::block_on;
use futures_util::future::LocalBoxFuture;
use tokengate_app::{RedisReply, StoreError};
use tokengate_core::sealed::StoreKeys;

/// What values of the store are authenticated with.
pub(crate) const STORE_KEYS: &str =
    "s:2222222222222222222222222222222222222222222222222222222222222222";

/// The same, as the service reads them.
pub(crate) fn store_keys() -> StoreKeys {
    StoreKeys::parse(STORE_KEYS).unwrap()
}

pub(crate) type Task = Pin<Box<dyn Future<Output = ()>>>;

/// What runs behind responses.
#[derive(Default)]
pub(crate) struct Tasks(RefCell<Vec<Task>>);

impl Tasks {
    pub(crate) fn push(&self, task: impl Future<Output = ()> + 'static) {
        self.0.borrow_mut().push(Box::pin(task));
    }

    /// What `work` comes to, while these run beside it.
    pub(crate) fn drive<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        block_on(poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(done);
            }
            self.step(context);
            context.waker().wake_by_ref();
            Poll::Pending
        }))
    }

    /// Runs them to their end, and what they begin.
    pub(crate) fn run(&self) {
        block_on(poll_fn(|context| {
            self.step(context);
            if self.0.borrow().is_empty() {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        }));
    }

    fn step(&self, context: &mut Context<'_>) {
        let mut tasks = self.0.take();
        tasks.retain_mut(|task| task.as_mut().poll(context).is_pending());
        // Those that these have begun stand behind them.
        tasks.append(&mut self.0.take());
        self.0.replace(tasks);
    }
}

/// A wait that is longer than anything that is answered at once, and than any shorter wait.
pub(crate) async fn yield_for(duration: Duration) {
    let mut left = 16 + duration.as_millis() / 25;
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// `Ports::wait`.
pub(crate) fn wait() -> (Box<dyn Any>, LocalBoxFuture<'static, ()>) {
    let end = Rc::new(());
    let going_on = Rc::downgrade(&end);
    let wait = poll_fn(move |context| {
        if going_on.strong_count() == 0 {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    });
    (Box::new(end), Box::pin(wait))
}

/// `Ports::redis` where there is none.
pub(crate) fn no_redis() -> Result<Vec<RedisReply>, StoreError> {
    Err(StoreError::Failed("there is no Redis here".into()))
}
