//! One thread owns the keys; everybody else sends it jobs. A TPM does one thing at a time, and its library is not to
//! be shared. The queue is bounded: a blocking caller waits for its turn, an asynchronous one is told that the TPM is busy.

use std::{
    fmt,
    sync::mpsc::{SyncSender, TrySendError, sync_channel},
    thread::Builder,
};

use tokio::sync::oneshot;

use crate::{
    keys::{DeviceKeys, KeyError},
    limits::TPM_JOBS_MAX,
};

type Job = Box<dyn FnOnce(&mut dyn DeviceKeys) + Send>;

/// A handle to the thread that owns a device's keys. The thread ends, and closes the TPM, when the last handle is gone.
#[derive(Clone)]
pub struct TpmThread {
    jobs: SyncSender<Job>,
}

impl fmt::Debug for TpmThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TpmThread")
    }
}

impl TpmThread {
    /// Starts the thread and opens the keys on it; gives the handle once they are open.
    ///
    /// # Errors
    /// What `open` says, or when no thread can be started.
    pub fn start<F>(open: F) -> Result<Self, KeyError>
    where
        F: FnOnce() -> Result<Box<dyn DeviceKeys>, KeyError> + Send + 'static,
    {
        let (jobs, queue) = sync_channel::<Job>(TPM_JOBS_MAX);
        let (report, opened) = sync_channel::<Result<(), KeyError>>(1);
        let run = move || {
            let mut keys = match open() {
                Ok(keys) => keys,
                Err(error) => {
                    // The starter is waiting; if it is gone, so is the need.
                    let _ = report.send(Err(error));
                    return;
                }
            };
            if report.send(Ok(())).is_err() {
                return;
            }
            for job in queue {
                job(keys.as_mut());
            }
        };
        Builder::new()
            .name("tpm".to_owned())
            .spawn(run)
            .map_err(|error| KeyError::Tpm { operation: "a thread", cause: error.to_string() })?;
        opened.recv().map_err(|_| KeyError::Gone)??;
        Ok(Self { jobs })
    }

    /// Runs `work` with the keys and waits for its outcome. Blocks, also while the queue is full: not for a thread
    /// that runs asynchronous tasks, unless inside `block_in_place`.
    ///
    /// # Errors
    /// What `work` says, or `Gone`.
    pub fn call<T, F>(&self, work: F) -> Result<T, KeyError>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn DeviceKeys) -> Result<T, KeyError> + Send + 'static,
    {
        let (answer, outcome) = sync_channel(1);
        // A caller that stopped waiting does not need the outcome.
        let job: Job = Box::new(move |keys| drop(answer.send(work(keys))));
        self.jobs.send(job).map_err(|_| KeyError::Gone)?;
        outcome.recv().map_err(|_| KeyError::Gone)?
    }

    /// Runs `work` with the keys without blocking the caller's thread. Work that was queued is done even when the
    /// returned future is dropped.
    ///
    /// # Errors
    /// What `work` says, `Busy` when the queue is full, or `Gone`.
    pub async fn acall<T, F>(&self, work: F) -> Result<T, KeyError>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn DeviceKeys) -> Result<T, KeyError> + Send + 'static,
    {
        let (answer, outcome) = oneshot::channel();
        let job: Job = Box::new(move |keys| drop(answer.send(work(keys))));
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => KeyError::Busy(TPM_JOBS_MAX),
            TrySendError::Disconnected(_) => KeyError::Gone,
        })?;
        outcome.await.map_err(|_| KeyError::Gone)?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::{keys::Slot, manufacturer::SimulatedManufacturer, soft::SimulatedSoftwareKeys};

    fn soft() -> TpmThread {
        TpmThread::start(|| {
            let manufacturer = SimulatedManufacturer::well_known()?;
            Ok(Box::new(SimulatedSoftwareKeys::new(&[1; 32], &manufacturer)?))
        })
        .unwrap()
    }

    #[test]
    fn calls_from_many_threads_share_one_device() {
        let tpm = soft();
        tpm.call(|keys| keys.create_ldevid(Slot::A)).unwrap();
        let publics: Vec<_> = std::thread::scope(|scope| {
            let calls: Vec<_> =
                (0..8).map(|_| scope.spawn(|| tpm.call(|keys| keys.ldevid_public(Slot::A)))).collect();
            calls.into_iter().map(|call| call.join().unwrap().unwrap()).collect()
        });
        assert!(publics.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn what_cannot_be_opened_is_reported_at_the_start() {
        let error = TpmThread::start(|| Err(KeyError::EmptySlot(Slot::B))).unwrap_err();
        assert_eq!(error, KeyError::EmptySlot(Slot::B));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_asynchronous_callers() {
        let tpm = soft();
        let (release, held) = sync_channel::<()>(0);
        let (started, running) = sync_channel::<()>(0);
        let blocker = tpm.clone();
        let blocked = std::thread::spawn(move || {
            blocker.call(move |_| {
                started.send(()).unwrap();
                held.recv().unwrap();
                Ok(())
            })
        });
        running.recv().unwrap();
        for _ in 0..TPM_JOBS_MAX {
            tpm.jobs.try_send(Box::new(|_| {})).unwrap();
        }
        assert_eq!(tpm.acall(|_| Ok(())).await, Err(KeyError::Busy(TPM_JOBS_MAX)));
        release.send(()).unwrap();
        blocked.join().unwrap().unwrap();
        tpm.call(|_| Ok(())).unwrap();
        assert_eq!(tpm.acall(|_| Ok(7)).await, Ok(7));
    }
}
