//! The literal children of a node of the subscription tree: a plain list while they are few, a map when they are many.
//! Most nodes have one child, and a fleet gives one node a child per device.

use std::collections::HashMap;

use crate::{index::Node, limits::FEW_CHILDREN_MAX};

/// Level to node. Only ever asked for one level at a time, so the map's order reaches nobody.
#[derive(Debug)]
pub(crate) enum Children {
    Few(Vec<(Box<str>, Node)>),
    #[expect(
        clippy::box_collection,
        reason = "a map is twice a list, and every node has room for the larger"
    )]
    Many(Box<HashMap<Box<str>, Node>>),
}

impl Default for Children {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Children {
    /// The child for `level`, made if it was not there.
    pub(crate) fn entry(&mut self, level: &str) -> &mut Node {
        if let Self::Few(few) = self
            && few.len() >= FEW_CHILDREN_MAX
            && !few.iter().any(|(name, _)| &**name == level)
        {
            *self = Self::Many(Box::new(std::mem::take(few).into_iter().collect()));
        }
        match self {
            Self::Few(few) => {
                let at = few.iter().position(|(name, _)| &**name == level).unwrap_or_else(|| {
                    few.reserve_exact(1);
                    few.push((level.into(), Node::default()));
                    few.len() - 1
                });
                let Some((_, node)) = few.get_mut(at) else { unreachable!("the position was just found") };
                node
            }
            Self::Many(many) => {
                // Asked twice rather than copying the level for the usual case that it is there.
                if !many.contains_key(level) {
                    many.insert(level.into(), Node::default());
                }
                let Some(node) = many.get_mut(level) else { unreachable!("it was just put there") };
                node
            }
        }
    }

    /// Lets `change` work on the child for `level`, and drops the child if that left it empty.
    pub(crate) fn prune<T: Default>(&mut self, level: &str, change: impl FnOnce(&mut Node) -> T) -> T {
        match self {
            Self::Few(few) => {
                let Some(at) = few.iter().position(|(name, _)| &**name == level) else { return T::default() };
                let Some((_, node)) = few.get_mut(at) else { return T::default() };
                let outcome = change(node);
                if node.is_empty() {
                    few.swap_remove(at);
                    few.shrink_to_fit();
                }
                outcome
            }
            Self::Many(many) => {
                let Some(node) = many.get_mut(level) else { return T::default() };
                let outcome = change(node);
                if node.is_empty() {
                    many.remove(level);
                    if many.len() <= FEW_CHILDREN_MAX / 2 {
                        let mut few: Vec<_> = many.drain().collect();
                        few.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
                        *self = Self::Few(few);
                    } else if many.len() < many.capacity() / 4 {
                        many.shrink_to(2 * many.len());
                    }
                }
                outcome
            }
        }
    }

    /// The child for `level`.
    pub(crate) fn find(&self, level: &str) -> Option<&Node> {
        match self {
            Self::Few(few) => few.iter().find(|(name, _)| &**name == level).map(|(_, node)| node),
            Self::Many(many) => many.get(level),
        }
    }

    /// Whether there is no child at all.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }
}
