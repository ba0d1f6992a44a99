//! Status of a batch of which some items are rejected.

use axum::http::StatusCode;
use observer_pipeline::RejectReason;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// Status of a batch of which some items are stored and others are rejected.
///
/// Log shippers such as Fluent Bit send a whole batch again after 207.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub enum PartialStatus {
    /// 207, by which a sender sees that it has to look at the body.
    #[default]
    MultiStatus,
    /// 200, as for a batch without rejected items.
    Ok,
}

/// Name of the parameter of a request.
const PARAMETER: &str = "partial";

impl PartialStatus {
    /// Returns the status that the query of a request demands, or else this one.
    ///
    /// # Errors
    /// If the query demands another status than 200 and 207 (400).
    pub(crate) fn or_of(self, query: Option<&str>) -> Result<Self, Problem> {
        let Some(query) = query else { return Ok(self) };
        let mut demanded = form_urlencoded::parse(query.as_bytes())
            .filter(|(name, _)| name == PARAMETER)
            .map(|(_, value)| value.parse().ok().and_then(|status: u16| status.try_into().ok()));
        match demanded.next() {
            None => Ok(self),
            Some(Some(status)) => Ok(status),
            Some(None) => {
                let detail = "`partial` is the status of a batch of which some items are rejected: \
                              200 or 207";
                Err(Problem::new(StatusCode::BAD_REQUEST, detail)
                    .reason(RejectReason::Malformed)
                    .field(Some(PARAMETER)))
            }
        }
    }
}

impl From<PartialStatus> for StatusCode {
    fn from(status: PartialStatus) -> Self {
        match status {
            PartialStatus::MultiStatus => Self::MULTI_STATUS,
            PartialStatus::Ok => Self::OK,
        }
    }
}

impl From<PartialStatus> for u16 {
    fn from(status: PartialStatus) -> Self {
        StatusCode::from(status).as_u16()
    }
}

impl TryFrom<u16> for PartialStatus {
    type Error = String;

    fn try_from(status: u16) -> Result<Self, String> {
        match status {
            207 => Ok(Self::MultiStatus),
            200 => Ok(Self::Ok),
            other => Err(format!("{other} is neither 200 nor 207")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PartialStatus::{MultiStatus, Ok};

    #[test]
    fn request_may_demand_one_of_two_statuses() {
        for (query, expected) in [
            (None, Some(MultiStatus)),
            (Some(""), Some(MultiStatus)),
            (Some("a=200&partial2=200"), Some(MultiStatus)),
            (Some("partial=200"), Some(Ok)),
            (Some("a=b&p%61rtial=200"), Some(Ok)),
            (Some("partial=207"), Some(MultiStatus)),
            (Some("partial=204"), None),
            (Some("partial="), None),
            (Some("partial"), None),
            (Some("partial=+200"), None),
        ] {
            assert_eq!(MultiStatus.or_of(query).ok(), expected, "{query:?}");
        }
        assert_eq!(Ok.or_of(None).ok(), Some(Ok));
        assert_eq!(Ok.or_of(Some("partial=207")).ok(), Some(MultiStatus));
    }
}
