//! The authorities that sign at this moment, one of each role: all clones sign with the same, also after a rotation.

use std::{collections::BTreeMap, sync::Arc};

use super::{Authority, AuthorityError, Role};

/// The newest authority of each role that this hub has.
#[derive(Debug, Clone)]
pub struct Signers(Arc<BTreeMap<Role, Authority>>);

impl Signers {
    /// Of these, which come in order: of several of a role the last one signs.
    pub fn new(authorities: &[Authority]) -> Self {
        Self(Arc::new(newest(authorities)))
    }

    /// Who signs for this role; none when this hub does not have that authority.
    pub fn of(&self, role: Role) -> Option<&Authority> {
        self.0.get(&role)
    }

    /// From now on the newest of these. An authority that was missing at the start stays missing until the next.
    ///
    /// # Errors
    /// One of them is of another installation.
    pub fn replace(&self, authorities: &[Authority]) -> Result<(), AuthorityError> {
        for (role, newer) in newest(authorities) {
            if let Some(signs) = self.of(role) {
                signs.replace(&newer)?;
            }
        }
        Ok(())
    }
}

/// Clones of their own: those that are listed keep their keys for their revocation lists.
fn newest(authorities: &[Authority]) -> BTreeMap<Role, Authority> {
    authorities.iter().map(|authority| (authority.role(), authority.detached())).collect()
}
