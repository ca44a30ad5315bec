//! The TPM's non-volatile storage: reading the endorsement certificate that the manufacturer left there.

use tss_esapi::{
    Context,
    handles::{NvIndexHandle, NvIndexTpmHandle, TpmHandle},
    interface_types::{resource_handles::NvAuth, session_handles::AuthSession},
};

use super::chip::{absent, failed};
use crate::{
    keys::KeyError,
    limits::{CERTIFICATE_BYTES_MAX, CHAIN_COUNT_MAX, CHAIN_INDICES_MAX, NV_CHUNK_BYTES_MAX},
    spki::cut_certificate,
};

/// Where the certificates above the endorsement certificate begin.
const CHAIN_INDEX_FIRST: u32 = 0x01c0_0100;

/// The certificate at `index` in DER, without the storage's padding. None when the index does not exist, was never
/// written, or holds no DER.
pub(super) fn read_certificate(context: &mut Context, index: u32) -> Result<Option<Vec<u8>>, KeyError> {
    Ok(read_index(context, index)?.and_then(|stored| cut_certificate(&stored).map(<[u8]>::to_vec)))
}

/// What is at `index`. None when it does not exist or was never written.
fn read_index(context: &mut Context, index: u32) -> Result<Option<Vec<u8>>, KeyError> {
    let read = failed("NV_Read");
    let handle = NvIndexTpmHandle::new(index).map_err(&read)?;
    let found = context.execute_without_session(|c| c.tr_from_tpm_public(TpmHandle::NvIndex(handle)));
    let mut object = match found {
        Ok(object) => object,
        Err(error) if absent(&error) => return Ok(None),
        Err(error) => return Err(read(error)),
    };
    let stored = read_all(context, NvIndexHandle::from(object));
    context.execute_without_session(|c| c.tr_close(&mut object)).map_err(&read)?;
    stored
}

/// The certificates above the endorsement certificate (TCG EK Credential Profile, 2.2.1.5.2): one after another in the
/// indices from 0x01c00100 on, cut wherever an index was full.
pub(super) fn read_chain(context: &mut Context) -> Result<Vec<Vec<u8>>, KeyError> {
    let mut stored = Vec::new();
    for index in CHAIN_INDEX_FIRST..CHAIN_INDEX_FIRST + CHAIN_INDICES_MAX {
        match read_index(context, index)? {
            Some(part) => stored.extend(part),
            None => break,
        }
    }
    Ok(split_chain(&stored))
}

fn split_chain(stored: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = stored;
    let mut chain = Vec::new();
    while chain.len() < CHAIN_COUNT_MAX
        && let Some(certificate) = cut_certificate(rest)
    {
        chain.push(certificate.to_vec());
        rest = rest.get(certificate.len()..).unwrap_or_default();
    }
    chain
}

fn read_all(context: &mut Context, handle: NvIndexHandle) -> Result<Option<Vec<u8>>, KeyError> {
    let read = failed("NV_Read");
    let (public, _) = context.execute_without_session(|c| c.nv_read_public(handle)).map_err(&read)?;
    if !public.attributes().written() {
        return Ok(None);
    }
    let size = public.data_size().min(CERTIFICATE_BYTES_MAX);
    let mut stored = Vec::with_capacity(size);
    while stored.len() < size {
        let offset = u16::try_from(stored.len()).unwrap_or(u16::MAX);
        let wanted = u16::try_from((size - stored.len()).min(NV_CHUNK_BYTES_MAX)).unwrap_or(u16::MAX);
        let chunk = context
            .execute_with_session(Some(AuthSession::Password), |c| {
                c.nv_read(NvAuth::NvIndex(handle), handle, wanted, offset)
            })
            .map_err(&read)?;
        if chunk.is_empty() {
            break;
        }
        stored.extend_from_slice(chunk.as_slice());
    }
    Ok(Some(stored))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_cut_into_its_certificates_and_ends_where_they_do() {
        let stored = [0x30, 2, 5, 0, 0x30, 1, 7, 0xff, 0xff];
        assert_eq!(split_chain(&stored), [vec![0x30, 2, 5, 0], vec![0x30, 1, 7]]);
        assert!(split_chain(&[0xff; 8]).is_empty());
        assert_eq!(split_chain(&[0x30, 0].repeat(9)).len(), CHAIN_COUNT_MAX);
    }
}
