//! Templates for common destinations, within their documented limits.

/// Message of a Slack incoming webhook
/// (<https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>). Slack cuts texts
/// of more than 40,000 characters and recommends at most 4,000.
pub(crate) const SLACK: &str = r#"{"text": {{ summary | truncate(3500) | slack_escape }}}"#;

/// Message of a Discord webhook (<https://docs.discord.com/developers/resources/webhook>), of at
/// most 2,000 characters and without mentions.
pub(crate) const DISCORD: &str = r#"{
  "content": {{ summary | truncate(1900) }},
  "allowed_mentions": {"parse": []}
}"#;

/// Adaptive card of a Teams workflow
/// (<https://learn.microsoft.com/connectors/teams/#microsoft-teams-webhook>). A message has at most
/// 28 KB.
pub(crate) const TEAMS: &str = r#"{
  "type": "message",
  "attachments": [{
    "contentType": "application/vnd.microsoft.card.adaptive",
    "contentUrl": null,
    "content": {
      "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
      "type": "AdaptiveCard",
      "version": "1.4",
      "body": [
        {%- for line in summary | truncate(5000) | lines %}
        {"type": "TextBlock", "wrap": true, "text": {{ line }}}{% if not loop.last %},{% endif %}
        {%- endfor %}
      ]
    }
  }]
}"#;

/// Alert of PagerDuty's Events API v2
/// (<https://developer.pagerduty.com/docs/events-api-v2/trigger-events/>). A success resolves the
/// alert of the same problem.
pub(crate) const PAGERDUTY: &str = r#"{
  "routing_key": {{ vars.routing_key }},
  "event_action": {{ "trigger" if event.ok == false else "resolve" }},
  {%- set problem = event.sig_hash or event.cycle_id or event.id %}
  "dedup_key": {{ (event.source ~ "/" ~ problem) | truncate(255) }},
  "client": "observer",
  "payload": {
    "summary": {{ event.summary | truncate(1024) }},
    "source": {{ event.source | truncate(255) }},
    "severity": "error",
    "timestamp": {{ event.timestamp or event.received_at }},
    "class": {{ event.event_kind | truncate(255) }},
    "custom_details": {
      "id": {{ event.id }},
      "cycle_id": {{ (event.cycle_id or "") | truncate(255) }},
      "sig_hash": {{ (event.sig_hash or "") | truncate(255) }},
      "model": {{ (event.staffer_id or "") | truncate(255) }},
      "turns": {{ event.turns }},
      "duration_ms": {{ event.duration_ms }},
      "cost_usd": {{ event.cost_usd }}
    }
  }
}"#;
