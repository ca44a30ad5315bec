//! What a TPM's maker does before it is sold, done to a **simulated** TPM: puts a P-256 endorsement certificate of the
//! manufacturer "NOT A REAL TPM" into its storage. For simulators and tests only: a real TPM comes with its own.

use tss_esapi::{
    attributes::NvIndexAttributesBuilder,
    handles::{AuthHandle, NvIndexHandle, NvIndexTpmHandle},
    interface_types::{
        algorithm::HashingAlgorithm,
        resource_handles::{NvAuth, Provision},
        session_handles::AuthSession,
    },
    structures::{MaxNvBuffer, NvPublicBuilder},
};

use super::chip::{Chip, failed};
use crate::{
    keys::{DeviceKeys, KeyError},
    limits::NV_CHUNK_BYTES_MAX,
    manufacturer::SimulatedManufacturer,
    templates::EkTemplate,
    wire::TpmtPublic,
};

/// Endorses the simulated TPM behind `chip`, unless it holds a certificate already.
///
/// # Errors
/// When the TPM fails, as any that is not simulated does: its platform hierarchy is closed to programs.
pub fn endorse_simulated(chip: &mut Chip, manufacturer: &SimulatedManufacturer) -> Result<(), KeyError> {
    if chip.ek_certificate()?.is_some() {
        return Ok(());
    }
    let public = chip.ek_public()?;
    let point = TpmtPublic::parse(&public).ok().and_then(|ek| ek.p256_sec1());
    let point = point
        .ok_or(KeyError::Invalid { what: "the endorsement key", why: "it is not a P-256 key".to_owned() })?;
    let certificate = manufacturer.endorse(&point)?;
    let index = define(chip, EkTemplate::P256.certificate_index(), certificate.len())?;
    write(chip, index, &certificate)?;
    chip.find_certificate()
}

/// Clears the simulated TPM behind `chip`, as a person at its firmware would: the keys that its owner made are gone, and
/// its counters begin anew. Its endorsement key and certificate stay. Open it anew afterwards.
///
/// # Errors
/// When the TPM fails, or its lockout hierarchy has a password.
pub fn clear_simulated(chip: &mut Chip) -> Result<(), KeyError> {
    chip.context
        .execute_with_session(Some(AuthSession::Password), |c| c.clear(AuthHandle::Lockout))
        .map_err(failed("Clear"))
}

fn define(chip: &mut Chip, index: u32, len: usize) -> Result<NvIndexHandle, KeyError> {
    let define = failed("NV_DefineSpace");
    let attributes = NvIndexAttributesBuilder::new()
        .with_pp_write(true)
        .with_pp_read(true)
        .with_owner_read(true)
        .with_auth_read(true)
        .with_no_da(true)
        .with_platform_create(true)
        .build()
        .map_err(&define)?;
    let public = NvPublicBuilder::new()
        .with_nv_index(NvIndexTpmHandle::new(index).map_err(&define)?)
        .with_index_name_algorithm(HashingAlgorithm::Sha256)
        .with_index_attributes(attributes)
        .with_data_area_size(len)
        .build()
        .map_err(&define)?;
    chip.context
        .execute_with_session(Some(AuthSession::Password), |c| {
            c.nv_define_space(Provision::Platform, None, public)
        })
        .map_err(&define)
}

fn write(chip: &mut Chip, index: NvIndexHandle, certificate: &[u8]) -> Result<(), KeyError> {
    let write = failed("NV_Write");
    let offsets = (0u16..).step_by(NV_CHUNK_BYTES_MAX);
    for (chunk, offset) in certificate.chunks(NV_CHUNK_BYTES_MAX).zip(offsets) {
        let chunk = MaxNvBuffer::try_from(chunk).map_err(&write)?;
        chip.context
            .execute_with_session(Some(AuthSession::Password), |c| {
                c.nv_write(NvAuth::Platform, index, chunk, offset)
            })
            .map_err(&write)?;
    }
    Ok(())
}
