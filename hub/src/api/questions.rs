//! The same questions over MQTT: `$muster/query/<verb>`, a JSON object with the parameters that HTTPS has in its query, and
//! `tenant` where it is another's telemetry that is shared with the one that asks.

use std::sync::Arc;

use muster_broker::{Answer, Answering, Answers, Question};

use super::{
    Api,
    asked::{About, Asked, Verb},
    caller::Caller,
    error::ApiError,
};
use crate::history::limits::MQTT_PAGE_BYTES_MAX;

/// Answers sessions as the API answers requests.
pub(crate) struct Questions(Arc<Api>);

impl Questions {
    /// Over this API.
    pub(crate) fn new(api: Arc<Api>) -> Self {
        Self(api)
    }
}

impl Answers for Questions {
    fn answer(&self, question: Question) -> Answering {
        let api = self.0.clone();
        Box::pin(async move {
            let (tenant, caller) = (question.principal.tenant.clone(), question.principal.to_string());
            match api.told(question).await {
                Ok(payload) => Answer { status: 200, payload: payload.into() },
                Err(error) => {
                    tracing::info!(%tenant, %caller, why = %error, "question refused");
                    let payload = serde_json::to_vec(&error.body()).unwrap_or_default();
                    Answer { status: error.status().as_u16(), payload: payload.into() }
                }
            }
        })
    }
}

impl Api {
    async fn told(&self, question: Question) -> Result<Vec<u8>, ApiError> {
        let Question { principal, about, payload } = question;
        let wrong =
            |why: String, next: &str| ApiError::malformed("the question was not understood", why, next);
        let verb = Verb::named(&about).ok_or_else(|| {
            let next = "ask on $muster/query/last, range, downsample or aggregate";
            wrong(format!("{about:?} is no question"), next)
        })?;
        let mut asked: Asked = match payload.trim_ascii() {
            b"" => Asked::default(),
            json => serde_json::from_slice(json).map_err(|error| {
                wrong(error.to_string(), "send a JSON object with the parameters that docs/api.md has")
            })?,
        };
        let tenant = asked.tenant.take().unwrap_or_else(|| principal.tenant.clone());
        let wanted = asked.of(verb)?;
        let caller = Caller::from(principal);
        let view = self.view_within(&caller, &tenant, wanted.data_set.as_deref(), self.now_ms())?;
        if wanted.is_lines || matches!(wanted.about, About::Export(..)) {
            let next = "go on with the cursor, or ask over HTTPS";
            return Err(wrong("MQTT has pages only, and neither files nor lines".to_owned(), next));
        }
        self.page(self.shown_to(&caller, tenant, view), wanted, MQTT_PAGE_BYTES_MAX).await
    }
}
