//! Which campaign has which device: one at a time for each component. All campaigns of a tenant share this.

use std::collections::BTreeMap;

use muster_schemas::{DeviceId, firmware::ExecutionId};

/// Who has what.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    held: BTreeMap<DeviceId, BTreeMap<Box<str>, ExecutionId>>,
}

impl Claims {
    /// Takes a device for an execution, from its target on until its close. Taking what one has already is no change.
    ///
    /// # Errors
    /// The execution that has it: the member is brought in as taken, and hears when it is free.
    pub fn take(
        &mut self,
        device: &DeviceId,
        component: &str,
        execution: ExecutionId,
    ) -> Result<(), ExecutionId> {
        let of_device = self.held.entry(device.clone()).or_default();
        match of_device.get(component) {
            Some(holder) if *holder != execution => Err(*holder),
            _ => {
                of_device.insert(component.into(), execution);
                Ok(())
            }
        }
    }

    /// Gives a device back. Nothing happens if another execution has it by now.
    pub fn give_back(&mut self, device: &DeviceId, component: &str, execution: ExecutionId) -> bool {
        let Some(of_device) = self.held.get_mut(device) else { return false };
        let is_holder = of_device.get(component) == Some(&execution);
        if is_holder {
            of_device.remove(component);
        }
        if of_device.is_empty() {
            self.held.remove(device);
        }
        is_holder
    }

    /// Who has a device.
    pub fn holder(&self, device: &DeviceId, component: &str) -> Option<ExecutionId> {
        self.held.get(device)?.get(component).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_of_one_execution_at_a_time_for_each_component() {
        let (device, mut claims): (DeviceId, _) = ("cam-1".parse().expect("an id"), Claims::default());
        let [first, second] = [1, 2].map(|n| ExecutionId::new(n).expect("a number"));
        assert_eq!(claims.take(&device, "firmware", first), Ok(()));
        assert_eq!(claims.take(&device, "firmware", first), Ok(()), "again is no change");
        assert_eq!(claims.take(&device, "firmware", second), Err(first));
        assert_eq!(claims.take(&device, "modem", second), Ok(()), "another component");
        assert!(!claims.give_back(&device, "firmware", second), "who does not have it gives nothing back");
        assert_eq!(claims.holder(&device, "firmware"), Some(first));
        assert!(claims.give_back(&device, "firmware", first));
        assert_eq!(claims.take(&device, "firmware", second), Ok(()));
    }
}
