"""Panels, variables and links in the form that both dashboards share."""

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat
from grafana_foundation_sdk.builders import statetimeline, table, text, timeseries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as prometheus_models

# Base of links to the documentation. The README says how to replace it.
DOCS = "https://observer.example.com/docs"

# Tag by which the dashboards find each other.
TAG = "observer"

# Selectors. The value of `All` is `.*`, which also matches a label that is missing.
OBSERVER = 'job=~"$job",instance=~"$instance"'
SOURCE = f'{OBSERVER},source=~"$source"'
MODEL = f'{SOURCE},model=~"$model"'

GREEN, YELLOW, RED, BLUE, GREY = "green", "orange", "red", "blue", "text"


def query(expression, legend="__auto", *, instant=False, as_table=False):
    """Returns a query of the selected data source. Instant ones use the end of the range."""
    built = prometheus.Dataquery().expr(expression).legend_format(legend).datasource(source_ref())
    built = built.editor_mode(prometheus_models.QueryEditorMode.CODE)
    if as_table:
        built = built.format(prometheus_models.PromQueryFormat.TABLE)
    return built.instant() if instant or as_table else built.range()


def source_ref():
    return models.DataSourceRef(type_val="prometheus", uid="${datasource}")


def ratio(part, whole):
    """Returns a quotient of two expressions, without the series whose divisor is 0."""
    return f"{part} / ({whole} > 0)"


def steps(first, *rest):
    """Returns thresholds: the colour at first, and pairs of a value and the colour from there."""
    values = [models.Threshold(value=None, color=first)]
    values += [models.Threshold(value=value, color=color) for value, color in rest]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(values)


def fixed(color):
    return dashboard.FieldColor().mode(models.FieldColorModeId.FIXED).fixed_color(color)


def named_values(values):
    """Returns a mapping from values to pairs of a text and a colour."""
    results = {
        str(value): models.ValueMappingResult(text=name, color=color, index=index)
        for index, (value, (name, color)) in enumerate(values.items())
    }
    return models.ValueMap(options=results)


def link(title, page):
    """Returns a link to a page of the documentation."""
    built = dashboard.DashboardLink(title).type(models.DashboardLinkType.LINK)
    return built.url(f"{DOCS}/{page}").target_blank(True)


def drill_down(title, uid):
    """Returns a link to another dashboard, which keeps the time range and the observers."""
    built = dashboard.DashboardLink(title).type(models.DashboardLinkType.LINK)
    variables = "${__url_time_range}&${datasource:queryparam}&${job:queryparam}"
    return built.url(f"/d/{uid}?{variables}&${{instance:queryparam}}")


def finish(panel, title, description, unit, links, size):
    """Sets what every panel has."""
    width, height = size
    panel = panel.title(title).description(description).links(links).datasource(source_ref())
    if unit is not None:
        panel = panel.unit(unit)
    return panel.span(width).height(height)


def stat_panel(title, description, unit, queries, links, *, thresholds=None, decimals=None,
               mappings=None, no_value="0", size=(4, 4), text_mode=None, trend=False):
    panel = stat.Panel().no_value(no_value).thresholds(thresholds or steps(BLUE))
    panel = panel.graph_mode(common_models.BigValueGraphMode.AREA if trend
                             else common_models.BigValueGraphMode.NONE)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    panel = panel.color_mode(common_models.BigValueColorMode.VALUE)
    if decimals is not None:
        panel = panel.decimals(decimals)
    if mappings is not None:
        panel = panel.mappings([mappings])
    if text_mode is not None:
        panel = panel.text_mode(text_mode)
    for target in queries:
        panel = panel.with_target(target)
    return finish(panel, title, description, unit, links, size)


def line_panel(title, description, unit, queries, links, *, stacked=False, bars=False, colors=None,
               maximum=None, size=(12, 8), decimals=None, thresholds=None):
    legend = common.VizLegendOptions().show_legend(True).placement(
        common_models.LegendPlacement.BOTTOM)
    legend = legend.display_mode(common_models.LegendDisplayMode.LIST).calcs([])
    panel = timeseries.Panel().min(0).legend(legend).line_width(1).fill_opacity(10)
    tooltip = common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI)
    panel = panel.tooltip(tooltip.sort(common_models.SortOrder.DESCENDING))
    panel = panel.show_points(common_models.VisibilityMode.AUTO)
    if stacked:
        stacking = common.StackingConfig().mode(common_models.StackingMode.NORMAL)
        panel = panel.stacking(stacking).fill_opacity(70)
    if bars:
        panel = panel.draw_style(common_models.GraphDrawStyle.BARS)
    if maximum is not None:
        panel = panel.max(maximum)
    if decimals is not None:
        panel = panel.decimals(decimals)
    if thresholds is not None:
        style = common.GraphThresholdsStyleConfig().mode(
            common_models.GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds(thresholds).thresholds_style(style)
    for name, color in (colors or {}).items():
        value = {"mode": "fixed", "fixedColor": color}
        panel = panel.override_by_name(name, [models.DynamicConfigValue("color", value)])
    for target in queries:
        panel = panel.with_target(target)
    return finish(panel, title, description, unit, links, size)


def bar_panel(title, description, unit, queries, links, *, thresholds=None, size=(8, 8),
              decimals=None):
    panel = bargauge.Panel().orientation(common_models.VizOrientation.HORIZONTAL).min(0)
    panel = panel.display_mode(common_models.BarGaugeDisplayMode.BASIC)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    panel = panel.thresholds(thresholds or steps(BLUE))
    if decimals is not None:
        panel = panel.decimals(decimals)
    for target in queries:
        panel = panel.with_target(target)
    return finish(panel, title, description, unit, links, size)


def timeline_panel(title, description, queries, links, *, mappings, size=(12, 6)):
    panel = statetimeline.Panel().mappings([mappings]).show_value(
        common_models.VisibilityMode.NEVER)
    for target in queries:
        panel = panel.with_target(target)
    return finish(panel, title, description, "none", links, size)


def table_panel(title, description, rows, columns, links, *, size=(24, 8), sort=None):
    """Returns a table that joins instant queries by labels.

    `rows` are the labels that name a row; `columns` are triples of a heading, a unit and an
    expression whose series have those labels. Columns without a unit hold counts.
    """
    panel = table.Panel()
    renamed, units = {"Time": ""}, []
    for index, (heading, unit, expression) in enumerate(columns):
        ref = chr(ord("A") + index)
        panel = panel.with_target(query(expression, as_table=True).ref_id(ref))
        # A single query has no suffix.
        value = f"Value #{ref}" if len(columns) > 1 else "Value"
        renamed[value] = heading
        units.append((heading, unit))
    order = {name: index for index, name in enumerate([*rows, *renamed.keys()])}
    options = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": renamed}
    panel = panel.with_transformation(models.DataTransformerConfig("merge", options={}))
    panel = panel.with_transformation(models.DataTransformerConfig("organize", options=options))
    for heading, unit in units:
        values = [models.DynamicConfigValue("unit", unit or "short")]
        if unit in (None, "percentunit"):
            decimals = 0 if unit is None else 1
            values.append(models.DynamicConfigValue("decimals", decimals))
        panel = panel.override_by_name(heading, values)
    if sort is not None:
        field = common.TableSortByFieldState().display_name(sort).desc(True)
        panel = panel.sort_by([field])
    return finish(panel, title, description, None, links, size)


def matrix_panel(title, description, unit, expression, row, column, links, *, size=(24, 8)):
    """Returns a table with a row for each value of one label, and a column for each of another."""
    panel = table.Panel().with_target(query(expression, as_table=True))
    options = {"rowField": row, "columnField": column, "valueField": "Value", "emptyValue": "zero"}
    panel = panel.with_transformation(
        models.DataTransformerConfig("groupingToMatrix", options=options))
    return finish(panel, title, description, unit, links, size)


def text_panel(title, description, content, links, *, size=(24, 5)):
    panel = text.Panel().mode("markdown").content(content)
    return finish(panel, title, description, None, links, size)


def variable(name, label, description, expression):
    """Returns a variable with the values of a label, of which all are selected at first."""
    built = dashboard.QueryVariable(name).label(label).description(description)
    built = built.query({"query": expression, "refId": f"variable-{name}", "qryType": 1})
    built = built.datasource(source_ref()).multi(True).include_all(True).all_value(".*")
    built = built.current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))
    built = built.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    return built.sort(models.VariableSort.ALPHABETICAL_ASC)


def choice(name, label, description, values, selected):
    """Returns a variable with given values, a dictionary from texts to values."""
    options = [
        models.VariableOption(selected=text == selected, text=text, value=value)
        for text, value in values.items()
    ]
    query_text = ",".join(f"{text} : {value}" for text, value in values.items())
    built = dashboard.CustomVariable(name).label(label).description(description)
    built = built.values(query_text).options(options).multi(False).include_all(False)
    return built.current(
        models.VariableOption(selected=True, text=selected, value=values[selected]))


def new_dashboard(title, uid, description):
    """Returns a dashboard with the variables of observers, and links to the others."""
    built = dashboard.Dashboard(title).uid(uid).description(description).tags([TAG])
    built = built.time("now-24h", "now").refresh("1m").timezone("browser").editable()
    built = built.tooltip(models.DashboardCursorSync.CROSSHAIR)
    others = dashboard.DashboardLink("Observer dashboards")
    others = others.type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    built = built.link(others.include_vars(True).keep_time(True).as_dropdown(False))
    built = built.link(link("Documentation", "README.md"))
    built = built.link(link("Runbook", "runbook.md"))
    data_source = dashboard.DatasourceVariable("datasource").label("Data source")
    data_source = data_source.description("Prometheus that scrapes the observers.")
    built = built.with_variable(data_source.type("prometheus"))
    built = built.with_variable(variable(
        "job", "Job", "Job of the scrape configuration.",
        "label_values(observer_build_info, job)"))
    return built.with_variable(variable(
        "instance", "Instance", "Address of an observer.",
        'label_values(observer_build_info{job=~"$job"}, instance)'))


def row(title):
    return dashboard.Row(title)


def number(built):
    """Gives panels and queries the identifiers that Grafana needs, in their order."""
    for index, panel in enumerate(built.panels):
        panel.id_val = index + 1
        for position, target in enumerate(getattr(panel, "targets", None) or []):
            target.ref_id = chr(ord("A") + position)
    return built
