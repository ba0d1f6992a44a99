// For tools that import monitoring mixins. Everything in it can be used without jsonnet.
local groups(text) = std.parseYaml(text).groups;
{
  grafanaDashboards+:: {
    'observer-outcomes.json': import 'dashboards/outcomes.json',
    'observer-pipeline.json': import 'dashboards/pipeline.json',
  },
  prometheusRules+:: {
    groups+:
      groups(importstr 'rules/thresholds.yaml') + groups(importstr 'rules/recording.yaml'),
  },
  prometheusAlerts+:: {
    groups+: groups(importstr 'rules/alerts.yaml'),
  },
}
