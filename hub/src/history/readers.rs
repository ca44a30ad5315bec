//! Who reads, and how many at a time: a question never waits behind an export, and a tenant never for all of another's.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use muster_schemas::TenantId;
use tokio::sync::{Semaphore, mpsc};

use super::{
    limits::{
        EXPORTS_MAX, EXPORTS_TENANT_MAX, PIECES_WAITING_MAX, QUESTIONS_MAX, QUESTIONS_TENANT_AT_ONCE_MAX,
        QUESTIONS_TENANT_MAX,
    },
    pipe::{Piece, Pipe},
};

/// Too many read already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("read now: too many others do")]
pub struct Busy;

/// The readers of all tenants. Cheap to clone.
#[derive(Clone)]
pub struct Readers {
    questions: Arc<Semaphore>,
    exports: Arc<Semaphore>,
    present: Arc<Mutex<BTreeMap<TenantId, Present>>>,
}

/// Those of one tenant that read or wait.
#[derive(Debug)]
struct Present {
    questions: usize,
    exports: usize,
    /// Questions that are answered, and do not wait.
    at_once: Arc<Semaphore>,
}

/// One of them; it leaves when it is dropped.
struct Reader {
    tenant: TenantId,
    is_export: bool,
    at_once: Arc<Semaphore>,
    present: Arc<Mutex<BTreeMap<TenantId, Present>>>,
}

impl Default for Readers {
    fn default() -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { questions: semaphore(QUESTIONS_MAX), exports: semaphore(EXPORTS_MAX), present: Arc::default() }
    }
}

impl Readers {
    /// Answers a question on a thread that may block.
    ///
    /// # Errors
    /// Too many of the tenant's are answered or wait.
    pub async fn answer<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let reader = self.enter(tenant, false)?;
        // Its own first, so that those who wait for it hold no place of others.
        let own = reader.at_once.clone().acquire_owned().await.map_err(|_| Busy)?;
        let permit = self.questions.clone().acquire_owned().await.map_err(|_| Busy)?;
        // All go along: who leaves does not make room before the work is done.
        let answered = tokio::task::spawn_blocking(move || {
            let _places = (reader, own, permit);
            read()
        });
        answered.await.map_err(|_| Busy)
    }

    /// Has something long written on a thread that may block, and gives what comes out of it. Whoever drops that ends the
    /// writing.
    ///
    /// # Errors
    /// Too many are written already; this one does not wait.
    pub fn write(
        &self,
        tenant: &TenantId,
        write: impl FnOnce(Pipe) + Send + 'static,
    ) -> Result<mpsc::Receiver<Piece>, Busy> {
        let reader = self.enter(tenant, true)?;
        let permit = self.exports.clone().try_acquire_owned().map_err(|_| Busy)?;
        let (sender, pieces) = mpsc::channel(PIECES_WAITING_MAX);
        let pipe = Pipe::new(sender, tokio::runtime::Handle::current());
        tokio::task::spawn_blocking(move || {
            let _places = (reader, permit);
            write(pipe);
        });
        Ok(pieces)
    }

    fn enter(&self, tenant: &TenantId, is_export: bool) -> Result<Reader, Busy> {
        let mut all = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let present = all.entry(tenant.clone()).or_insert_with(|| Present {
            questions: 0,
            exports: 0,
            at_once: Arc::new(Semaphore::new(QUESTIONS_TENANT_AT_ONCE_MAX)),
        });
        let (count, max) = match is_export {
            true => (&mut present.exports, EXPORTS_TENANT_MAX),
            false => (&mut present.questions, QUESTIONS_TENANT_MAX),
        };
        if *count >= max {
            return Err(Busy);
        }
        *count += 1;
        let at_once = present.at_once.clone();
        Ok(Reader { tenant: tenant.clone(), is_export, at_once, present: self.present.clone() })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut all = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(present) = all.get_mut(&self.tenant) else { return };
        let count = if self.is_export { &mut present.exports } else { &mut present.questions };
        *count = count.saturating_sub(1);
        if present.questions == 0 && present.exports == 0 {
            all.remove(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().expect("a tenant")
    }

    #[tokio::test]
    async fn an_export_that_nobody_reads_leaves_room_for_another_tenant_and_for_questions() {
        let readers = Readers::default();
        let endless = |mut pipe: Pipe| while pipe.write_all(&[0; 1_024]).is_ok() {};
        let mut held: Vec<_> = Vec::new();
        for _ in 0..EXPORTS_TENANT_MAX {
            held.push(readers.write(&tenant("acme"), endless).expect("room"));
        }
        assert_eq!(readers.write(&tenant("acme"), endless).err(), Some(Busy));
        assert!(readers.write(&tenant("globex"), |_| {}).is_ok());
        assert_eq!(readers.answer(&tenant("acme"), || 7).await, Ok(7));
        // Whoever hangs up makes room.
        held.clear();
        while readers.present.lock().expect("whole").contains_key(&tenant("acme")) {
            tokio::task::yield_now().await;
        }
        assert!(readers.write(&tenant("acme"), |_| {}).is_ok());
    }

    #[tokio::test]
    async fn one_tenants_questions_leave_room_for_anothers() {
        let readers = Readers::default();
        let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
        let held = Arc::new(Mutex::new(held));
        let acme = tenant("acme");
        let mut slow = Vec::new();
        for _ in 0..QUESTIONS_TENANT_MAX {
            let (readers, acme, held) = (readers.clone(), acme.clone(), held.clone());
            slow.push(tokio::spawn(async move {
                readers.answer(&acme, move || held.lock().expect("whole").recv().is_err()).await
            }));
        }
        while readers.questions.available_permits() > QUESTIONS_MAX - QUESTIONS_TENANT_AT_ONCE_MAX {
            tokio::task::yield_now().await;
        }
        assert_eq!(readers.answer(&tenant("globex"), || 7).await, Ok(7));
        assert_eq!(readers.answer(&acme, || 7).await, Err(Busy));
        drop(release);
        for answered in slow {
            assert_eq!(answered.await.expect("joined"), Ok(true));
        }
    }

    #[tokio::test]
    async fn a_question_that_fails_makes_room() {
        let readers = Readers::default();
        let answered = readers.answer(&tenant("acme"), || panic!("broken by a test")).await;
        assert_eq!(answered, Err::<(), _>(Busy));
        assert!(readers.present.lock().expect("whole").is_empty());
    }
}
