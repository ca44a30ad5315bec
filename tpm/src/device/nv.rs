//! The TPM's non-volatile storage: reading the endorsement certificate that the manufacturer left there.

use tss_esapi::{
    Context,
    handles::{NvIndexHandle, NvIndexTpmHandle, TpmHandle},
    interface_types::{resource_handles::NvAuth, session_handles::AuthSession},
};

use super::chip::{absent, failed};
use crate::{
    keys::KeyError,
    limits::{CERTIFICATE_BYTES_MAX, NV_CHUNK_BYTES_MAX},
    spki::cut_certificate,
};

/// The certificate at `index` in DER, without the storage's padding. None when the index does not exist, was never
/// written, or holds no DER.
pub(super) fn read_certificate(context: &mut Context, index: u32) -> Result<Option<Vec<u8>>, KeyError> {
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
    Ok(stored?.and_then(|stored| cut_certificate(&stored).map(<[u8]>::to_vec)))
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
