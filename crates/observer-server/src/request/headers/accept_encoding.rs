//! Content negotiation by the header `Accept-Encoding` (RFC 9110, section 12.5.3).

use axum::http::HeaderMap;
use axum::http::header::ACCEPT_ENCODING;

use super::accept::Range;

/// Returns whether the client prefers a response with gzip to one without a coding. Without the
/// header it does not.
pub(crate) fn prefers_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let codings = values.flat_map(|value| value.split(',')).map(Range::parse);
    let (mut gzip, mut identity, mut any) = (None, None, None);
    for Range { name, weight } in codings {
        // RFC 9110, section 8.4.1.3.
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            gzip = Some(weight);
        } else if name.eq_ignore_ascii_case("identity") {
            identity = Some(weight);
        } else if name == "*" {
            any = Some(weight);
        }
    }
    // A response without a coding is acceptable even if it is not listed, but not preferred.
    let identity = identity.unwrap_or(0);
    gzip.or(any).is_some_and(|weight| weight > 0 && weight >= identity)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn gzip_is_chosen_if_the_client_prefers_it() {
        for (accepted, expected) in [
            (&["gzip"][..], true),
            (&["GZIP;q=0.5"], true),
            (&["x-gzip"], true),
            (&["deflate, gzip, br"], true),
            (&["deflate", "gzip"], true),
            (&["*"], true),
            (&["identity;q=0.5, *"], true),
            (&["gzip;q=0.3, identity;q=0.3"], true),
            (&["gzip;q=0.2, identity;q=0.3"], false),
            (&["gzip;q=0"], false),
            (&["gzip;q=0, *"], false),
            (&["*;q=0"], false),
            (&["identity"], false),
            (&["br, zstd"], false),
            (&["gzipped"], false),
            (&[""], false),
            (&[], false),
        ] {
            let values = accepted.iter().map(|value| HeaderValue::from_static(value));
            let mut headers = HeaderMap::new();
            values.for_each(|value| {
                headers.append(ACCEPT_ENCODING, value);
            });
            assert_eq!(prefers_gzip(&headers), expected, "{accepted:?}");
        }
    }
}
