"""The report's pages as Jinja templates: Markdown, and HTML that asks for nothing from elsewhere.

The HTML page's only script sorts its tables; its own policy forbids all else.
"""

STYLE = """
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 2.5rem) 3rem; max-width: 72rem; background: #fff;
  color: #1d2129; font: 1rem/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: .25rem 0 .75rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-top: .75rem; border-top: 1px solid #d9dce1; }
p, ul { max-width: 46rem; margin: .5rem 0; }
ul { padding-left: 1.25rem; }
li { margin: .3rem 0; }
a { color: #0060a0; }
nav { font-size: .9rem; margin: 1rem 0; }
nav a { margin-right: 1rem; white-space: nowrap; }
.soft { color: #5a6270; font-size: .9rem; }
.result { border-left: .3rem solid #d55e00; background: #fdf3ec; padding: .6rem 1rem; border-radius: 0 .5rem .5rem 0;
  max-width: 60rem; }
.scroll { overflow-x: auto; margin: 1rem 0; border: 1px solid #d9dce1; border-radius: .5rem; max-width: 100%;
  width: fit-content; background: linear-gradient(to left, #fff 40%, #fff0) right / 2.5rem 100% no-repeat local,
  linear-gradient(to left, #0004, #0000) right / .8rem 100% no-repeat scroll; }
.tall { max-height: 40rem; overflow-y: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .7rem; text-align: left; border-bottom: 1px solid #d9dce1; vertical-align: top; }
tbody tr:last-child > * { border-bottom: 0; }
tbody tr:hover > * { background: #f3f6f9; }
tbody tr.best > * { background: #fdeadf; font-weight: 600; }
thead th { color: #5a6270; font-weight: 600; vertical-align: bottom; background: #fff; position: sticky; top: 0;
  box-shadow: 0 1px #d9dce1; }
th.n, td.n { text-align: right; }
td.n { white-space: nowrap; }
tr > :first-child { position: sticky; left: 0; background: #fff; }
thead tr > :first-child { z-index: 1; }
td.name { white-space: nowrap; font-size: .8rem; }
th button { all: unset; cursor: pointer; }
th button:focus-visible { outline: 2px solid #0060a0; outline-offset: 2px; }
th button::after { content: "\\2195"; color: #b4bac4; margin-left: .3em; }
th[aria-sort=ascending] button::after { content: "\\2191"; color: #0060a0; }
th[aria-sort=descending] button::after { content: "\\2193"; color: #0060a0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.25rem; max-width: 60rem; }
dt { color: #5a6270; }
dd { margin: 0; }
pre { background: #f0f1ee; border-radius: .5rem; padding: .7rem .9rem; overflow-x: auto; font-size: .88rem; }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; }
figure { margin: 1.25rem 0 2rem; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { margin-top: .4rem; max-width: 46rem; color: #5a6270; font-size: .92rem; }
@media (max-width: 40rem) { h1 { font-size: 1.35rem; } dl { grid-template-columns: 1fr; } dd { margin-bottom: .5rem; } }
@media print {
  @page { margin: 14mm; }
  body { max-width: none; padding: 0; font-size: 10pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  nav { display: none; }
  th button::after { content: ""; }
  .scroll, pre { overflow: visible; max-height: none; border: 0; background: none; }
  pre { white-space: pre-wrap; }
  tr > :first-child, thead th { position: static; }
  table { font-size: 6.5pt; }
  th, td, td.n, td.name { padding: .15rem .3rem; font-size: inherit; white-space: normal; overflow-wrap: anywhere; }
  h2 { break-after: avoid; }
  figure, tr { break-inside: avoid; }
}
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = row => row.cells[column].textContent;
    const number = row => row.cells[column].dataset.value === undefined ? NaN : Number(row.cells[column].dataset.value);
    const compare = (one, other) => {
      if (!key(one) || !key(other)) return !key(one) - !key(other);
      const [a, b] = [number(one), number(other)];
      if (isNaN(a) !== isNaN(b)) return isNaN(a) - isNaN(b);
      return (up ? 1 : -1) * (isNaN(a) ? key(one).localeCompare(key(other)) : a - b);
    };
    body.append(...[...body.rows].sort(compare));
  }));
}
"""

HTML = """\
{%- set names = ("experiment", "experiments", "commits") -%}
{%- macro heading(title) -%}
{% for part in title.split(".") %}{% if not loop.first %}.<wbr>{% endif %}{{ part }}{% endfor %}
{%- endmacro -%}
{%- macro table(grid, label, sortable=false, tall=false) -%}
<div class="scroll{% if tall %} tall{% endif %}" role="region" tabindex="0" aria-label="{{ label }}">
<table{% if sortable %} class="sortable"{% endif %}>
<thead><tr>
{%- for column in grid.columns %}<th scope="col"{% if column.number %} class="n"{% endif %}>
{%- if sortable %}<button type="button">{{ heading(column.title) }}</button>
{%- else %}{{ heading(column.title) }}{% endif %}</th>
{%- endfor %}</tr></thead>
<tbody>
{%- for row in grid.rows %}
<tr{% if row.best %} class="best"{% endif %}>
{%- for cell in row.cells %}<td{% if cell.number is not none %} class="n" data-value="{{ cell.number }}"
{%- elif grid.columns[loop.index0].title in names %} class="name"{% endif %}>{{ cell.text }}</td>
{%- endfor %}</tr>
{%- endfor %}
</tbody></table></div>
{%- endmacro -%}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>{{ title }}</title>
<style>{{ style | safe }}</style>
</head>
<body>
<header>
<h1>{{ title }}</h1>
{% if description %}<p>{{ description }}</p>{% endif %}
<p class="result">{{ result }}</p>
<nav aria-label="Sections">
{%- for name, heading in sections %}<a href="#{{ name }}">{{ heading }}</a> {% endfor -%}
</nav>
</header>
<main>
<section id="run"><h2>How it was run</h2>
<dl>{% for name, value in facts %}<dt>{{ name }}</dt><dd>{{ value }}</dd>
{% endfor %}</dl></section>
{% if best.rows %}
<section id="best"><h2>{{ best_heading }}</h2>
{{ table(best, best_heading) }}
{% for note in notes %}<p class="soft">{{ note }}</p>
{% endfor %}</section>
<section id="statistics"><h2>Statistics</h2>
{{ table(statistics, "Statistics") }}
<p class="soft">{{ statistics_note }}</p></section>
{% endif %}
{% if advice %}
<section id="advice"><h2>What it suggests</h2>
<ul>{% for sentence in advice %}<li>{{ sentence }}</li>
{% endfor %}</ul></section>
{% endif %}
{% if extra %}<section id="more">{{ extra | safe }}</section>{% endif %}
{% if pictures %}
<section id="pictures"><h2>Pictures</h2>
{% for picture in pictures %}<figure>
<img src="data:image/png;base64,{{ picture.data }}" alt="{{ picture.alt }}" width="{{ picture.width }}"
 height="{{ picture.height }}">
<figcaption>{{ picture.caption }}</figcaption>
</figure>
{% endfor %}</section>
{% endif %}
{% if trials.rows %}
<section id="trials"><h2>All trials</h2>
{{ table(trials, "All trials", sortable=true, tall=true) }}
<p class="soft">A click on a heading sorts by it. With all figures in all digits: trials.csv beside this page.</p>
</section>
{% endif %}
{% if configurations %}
<section id="configuration"><h2>{{ configuration_heading }}</h2>
{% for name, content in configurations %}<p class="soft">{{ name }}</p>
<pre tabindex="0"><code>{{ content }}</code></pre>
{% endfor %}</section>
{% endif %}
<section id="reproduce"><h2>How to reproduce</h2>
<pre tabindex="0"><code>{{ commands | join("\n") }}</code></pre></section>
</main>
<script>{{ script | safe }}</script>
</body>
</html>
"""

MARKDOWN = """\
# {{ title }}
{% if description %}
{{ description | plain }}
{% endif %}
**{{ result | plain }}**

## How it was run

{% for name, value in facts -%}
- {{ name }}: {{ value | plain }}
{% endfor %}
{% if best.rows -%}
## {{ best_heading }}

{{ best_table }}
{% for note in notes %}
{{ note | plain }}
{% endfor %}
All trials: [trials.csv](trials.csv).

## Statistics

{{ statistics_table }}

{{ statistics_note }}

{% endif -%}
{% if advice -%}
## What it suggests

{% for sentence in advice -%}
- {{ sentence | plain }}
{% endfor %}
{% endif -%}
{% if pictures -%}
## Pictures

{{ pictures | length }} pictures are in `report.html` and beside it as PNG files. Where Git does not keep them, the last
command below makes them again.

{% endif -%}
{% if configurations -%}
## {{ configuration_heading }}

{% for name, content in configurations -%}
`{{ name }}`:

{{ content | fence }}yaml
{{ content.rstrip() }}
{{ content | fence }}

{% endfor -%}
{% endif -%}
## How to reproduce

```console
{% for command in commands -%}
{{ command }}
{% endfor -%}
```
"""
