//! Work that waits for the disk, done where it holds up nobody.

use tokio::task::JoinError;

use crate::store::Store;

/// Runs `work` on a thread of its own. In a simulated world it takes a moment of virtual time.
pub(crate) fn aside<T, W>(store: &Store, work: W) -> impl Future<Output = Result<T, JoinError>> + use<T, W>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    #[cfg(test)]
    let is_simulated = store.is_stepped();
    #[cfg(not(test))]
    let (is_simulated, _) = (false, store);
    async move {
        if is_simulated {
            // There is no other thread, but it takes its time all the same.
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            return Ok(work());
        }
        tokio::task::spawn_blocking(work).await
    }
}
