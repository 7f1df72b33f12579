"""The report's HTML and CSS, as text: a template kept in a module is found, and tracked, like any other import.

No script, no font and no picture comes from elsewhere, and the page's own policy forbids it. Wide tables scroll inside
their frame on a narrow screen and are shown whole in print; pictures have white grounds and keep them in the dark.
"""

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #fcfcfa; --card: #ffffff; --text: #1d2129; --soft: #5a6270; --line: #d9dce1;
  --ours: #fdeadf; --limit: #e2f3ec; --accent: #0060a0; --bar: #56b4e9; --zero: #9aa1ab; --code: #f0f1ee;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14171c; --card: #1c2027; --text: #e4e6ea; --soft: #a2a9b4; --line: #363c46;
    --ours: #4a2e1e; --limit: #173d31; --accent: #7cc4f2; --bar: #2f7fb0; --zero: #737b87; --code: #262b33;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 2.5rem) 3rem; max-width: 72rem;
  background: var(--ground); color: var(--text);
  font: 1rem/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; overflow-wrap: break-word;
}
h1 { font-size: 1.7rem; line-height: 1.25; margin: .5rem 0 1rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--line); }
p, ul { max-width: 46rem; margin: .5rem 0; }
ul { padding-left: 1.25rem; }
a { color: var(--accent); }
nav { font-size: .9rem; }
nav a { margin-right: 1rem; white-space: nowrap; }
.doors { border-bottom: 1px solid var(--line); padding-bottom: .6rem; margin-bottom: 1.5rem; }
.soft { color: var(--soft); font-size: .9rem; }
.cards { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; padding: 0; }
.cards div { flex: 1 1 8rem; background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .6rem .9rem; }
.cards dt { color: var(--soft); font-size: .85rem; }
.cards dd { margin: 0; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; margin: 1rem 0; border: 1px solid var(--line); border-radius: .5rem;
  background: var(--card); max-width: 100%; width: fit-content; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .7rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr:last-child > * { border-bottom: 0; }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 500; min-width: 4.5rem; }
tr:has(.words) > th:first-child { min-width: 7rem; }
tr > :first-child { position: sticky; left: 0; background: var(--card); }
td.n, th.n { text-align: right; white-space: nowrap; }
td.words:last-child { min-width: 11rem; }
tr.ours > * { background: var(--ours); font-weight: 600; }
tr.limit > * { background: var(--limit); }
.span { position: relative; display: block; width: clamp(8rem, 24vw, 18rem); height: 1.4em; }
.span i { position: absolute; }
.span .range { top: .45em; height: .5em; background: var(--bar); border-radius: .25em; }
.span .value { top: .2em; width: 2px; height: 1em; margin-left: -1px; background: var(--text); }
.span .zero { top: 0; width: 1px; height: 1.4em; background: var(--zero); }
pre { background: var(--code); border-radius: .5rem; padding: .7rem .9rem; overflow-x: auto; font-size: .88rem; }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; }
figure { margin: 1.25rem 0 2rem; }
figure img { display: block; max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: .5rem; }
figcaption { margin-top: .5rem; max-width: 46rem; color: var(--soft); font-size: .92rem; }
.verdict { display: inline-block; padding: .1rem .7rem; border: 1px solid currentcolor; border-radius: 1rem;
  color: var(--accent); font-weight: 600; }
.groups { columns: 17rem 3; column-gap: 1rem; }
.groups .scroll { margin: 0 0 1rem; width: auto; break-inside: avoid; }
.groups table { width: 100%; }
.groups caption { text-align: left; font-weight: 600; padding: .5rem .7rem; }
.groups tbody th { min-width: 0; font-weight: 400; color: var(--soft); width: 55%; }
.groups td { overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) { figure img { filter: brightness(.88); } }
@media (max-width: 40rem) {
  h1 { font-size: 1.35rem; }
  th, td { padding: .35rem .45rem; }
  .span { width: 5rem; }
}
@media print {
  :root { color-scheme: light; --ground: #fff; --card: #fff; --text: #000; --soft: #444; --line: #bbb;
    --ours: #fdeadf; --limit: #e2f3ec; --accent: #000; --bar: #56b4e9; --code: #f4f4f4; }
  @page { margin: 14mm; }
  body { max-width: none; padding: 0; font-size: 10pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  nav { display: none; }
  .scroll, pre { overflow: visible; white-space: pre-wrap; border: 0; }
  .scroll { white-space: normal; }
  table { font-size: 7.5pt; }
  th, td { padding: .25rem .35rem; }
  tr:has(.words) > th:first-child, td.words:last-child { min-width: 0; }
  tr > :first-child { position: static; }
  h2 { break-after: avoid; }
  figure, tr, .cards div { break-inside: avoid; }
  figure img { filter: none; max-height: 220mm; }
}
"""

TEMPLATE = """\
{%- macro table(columns, rows, label) -%}
<div class="scroll" role="region" tabindex="0" aria-label="{{ label }}">
<table>
<thead><tr>{% for column in columns %}<th scope="col"{% if column.number %} class="n"{% endif %}>{{ column.title }}</th>
{%- endfor %}</tr></thead>
<tbody>
{%- for row in rows %}
<tr{% if row.kind %} class="{{ row.kind }}"{% endif %}>
{%- for cell in row.cells -%}
{%- if loop.first %}<th scope="row">{{ cell }}</th>
{%- else %}<td class="{{ 'n' if columns[loop.index0].number else 'words' }}">{{ cell }}</td>{% endif -%}
{%- endfor %}</tr>
{%- endfor %}
</tbody>
</table>
</div>
{%- endmacro -%}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>{{ title }}</title>
<style>{{ style | safe }}</style>
</head>
<body>
{% if content.links %}<nav class="doors" aria-label="Site">{% for address, name in content.links.items() %}
<a href="{{ address }}">{{ name }}</a> {% endfor %}</nav>{% endif %}
<header>
<p class="soft">{{ content.title }}</p>
<h1>{{ headline }}</h1>
{% if cards %}<dl class="cards">
{% for name, value in cards %}<div><dt>{{ name }}</dt><dd>{{ value }}</dd></div>
{% endfor %}</dl>{% endif %}
<nav aria-label="Sections">{% for name, heading in sections %}<a href="#{{ name }}">{{ heading }}</a> {% endfor %}</nav>
</header>
<main>
{% if comparison %}
<section id="comparison"><h2>{{ comparison.heading }}</h2>
{% for sentence in comparison.sentences %}<p>{{ sentence }}</p>
{% endfor %}{{ table(comparison.columns, comparison.rows, comparison.heading) }}
<p class="soft">Best R² first. The network's row is coloured, and the best possible or, where that is not known, a
bound. Context is what an estimator may read before it answers; a causal one reads no later sample.</p>
</section>
{% endif %}
{% if tones %}
<section id="tones"><h2>{{ tones.heading }}</h2>
{{ table(tones.columns, tones.rows, tones.heading) }}
<p class="soft">On recordings the network has never seen. MSE: mean squared error, RMSE its root, MAE: mean absolute
error; gain: SNR of the output less that of the tone inside the mixture; the last column is the error on test over that
on the training windows, wanted 0.9 to 1.1.</p>
</section>
{% endif %}
{% if conditions %}
<section id="conditions"><h2>{{ conditions.heading }}</h2>
<p>{{ conditions.sentence }}</p>
{{ table(conditions.columns, conditions.rows, conditions.heading) }}
<p class="soft">R² after the first second where recordings of the same tones go through what docs/conditions.md
describes, one condition after the other. Nothing was trained for it; the filters are told what they are told above, the
last one the frequencies alone: its settings are those that the recording shows.</p>
</section>
{% endif %}
{% if uncertainty %}
<section id="uncertainty"><h2>{{ uncertainty.heading }}</h2>
{% if uncertainty.intervals %}
<p>{{ uncertainty.level }} intervals of R² on the test recordings, each read once from its own start. The tables above
average over every window, or over streams from many starts, so the figures differ a little.</p>
<div class="scroll" role="region" tabindex="0" aria-label="Intervals of R²">
<table>
<thead><tr><th scope="col">Tone</th>
{%- for title in ["R²", "from", "to"] %}<th scope="col" class="n">{{ title }}</th>{% endfor -%}
<th scope="col">from {{ uncertainty.scale[0] }} to {{ uncertainty.scale[1] }}</th></tr></thead>
<tbody>
{%- for row in uncertainty.intervals %}
<tr><th scope="row">{{ row.name }}</th>
{%- for figure in row.figures %}<td class="n">{{ figure }}</td>{% endfor -%}
<td><span class="span" aria-hidden="true"><i class="zero" style="left:{{ row.zero }}%"></i>
<i class="range" style="left:{{ row.left }}%;width:{{ row.width }}%"></i>
<i class="value" style="left:{{ row.at }}%"></i></span></td></tr>
{%- endfor %}
</tbody></table></div>
{% endif %}
{% if uncertainty.paired %}
<p>Against each rival on the same samples: the rival's mean squared error less the network's, so that above zero the
network is better.</p>
{{ table(uncertainty.columns, uncertainty.paired, "Paired comparisons") }}
{% endif %}
</section>
{% endif %}
{% if diagnosis %}
<section id="diagnosis"><h2>{{ diagnosis.heading }}</h2>
<p><span class="verdict">{{ diagnosis.verdict }}</span></p>
{% for sentence in diagnosis.sentences %}<p>{{ sentence }}</p>
{% endfor %}{% if diagnosis.commands %}<p>To try next, one change at a time:</p>
<pre tabindex="0"><code>{{ diagnosis.commands | join("\n") }}</code></pre>{% endif %}
</section>
{% endif %}
{% if pictures %}
<section id="pictures"><h2>{{ pictures.heading }}</h2>
{% for picture in pictures.shown %}<figure>
<img src="data:image/png;base64,{{ picture.data }}" alt="{{ picture.alt }}" width="{{ picture.width }}"
 height="{{ picture.height }}">
<figcaption>{{ picture.caption }}</figcaption>
</figure>
{% endfor %}</section>
{% endif %}
{% for part in parts %}
<section id="{{ part.name }}"><h2>{{ part.heading }}</h2>
{% if part.text %}<p>{{ part.text }}</p>{% endif %}
<div class="groups">{% for caption, entries in part.groups %}
<div class="scroll" role="region" tabindex="0" aria-label="{{ caption or part.heading }}"><table>
{%- if caption %}<caption>{{ caption }}</caption>{% endif %}<tbody>
{%- for key, value in entries %}<tr><th scope="row">{{ key }}</th><td>{{ value }}</td></tr>{% endfor -%}
</tbody></table></div>{% endfor %}
</div></section>
{% endfor %}
{% if reproduce %}
<section id="reproduce"><h2>{{ reproduce.heading }}</h2>
<p>From a copy of the repository at the same commit:</p>
<pre tabindex="0"><code>{{ reproduce.commands | join("\n") }}</code></pre>
<p class="soft">In portable arithmetic every x86-64 processor with AVX2 makes the same bits; in native arithmetic
another one makes nearly the same figures.</p>
</section>
{% endif %}
</main>
</body>
</html>
"""
