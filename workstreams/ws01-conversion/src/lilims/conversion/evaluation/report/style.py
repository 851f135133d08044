"""How the page looks: a column of text, figures in cards, light or dark as the reader's screen is."""

STYLE = """
:root { --ink: #1c2026; --soft: #5c6470; --line: #e3e6ea; --ground: #ffffff; --card: #f6f7f9; --accent: #2864c7;
  --mark: #fde7b0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #98a1ae; --line: #2e343d; --ground: #15181d;
  --card: #1d2127; --accent: #79a8f2; --mark: #66501a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", sans-serif; -webkit-font-smoothing: antialiased; }
main { max-width: 49rem; margin: 0 auto; padding: 3.5rem 1.5rem 5rem; }
header { margin-bottom: 2rem; }
header p { margin: .25rem 0 0; color: var(--soft); }
header .kind { font-size: .8rem; letter-spacing: .08em; text-transform: uppercase; color: var(--accent); }
h1 { font-size: 2.1rem; line-height: 1.2; margin: .25rem 0 0; letter-spacing: -.02em; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 0 0 .35rem; letter-spacing: -.01em; }
section { margin-top: 3rem; }
section > p { margin: 0 0 1rem; color: var(--soft); max-width: 40rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .75rem; margin-top: 0; }
.card { background: var(--card); border-radius: .75rem; padding: .8rem .85rem; }
.card p { margin: 0; }
.card .name, .card .note { font-size: .8rem; color: var(--soft); line-height: 1.4; }
.card .value { font-size: 1.45rem; font-weight: 600; letter-spacing: -.02em; font-variant-numeric: tabular-nums; }
picture img { display: block; width: 100%; height: auto; margin: .5rem 0 1rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; color: var(--soft); }
th, td { padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
td:not(:first-child), th:not(:first-child) { text-align: right; padding-right: 0; padding-left: .75rem; }
tr.own td { color: var(--accent); font-weight: 600; }
.place { margin: 0 0 1rem; padding: .9rem 1rem; background: var(--card); border-radius: .75rem; }
.place blockquote { margin: 0; font-family: ui-serif, Georgia, "Times New Roman", serif; overflow-wrap: anywhere; }
.place mark { background: var(--mark); color: inherit; border-radius: .2rem; padding: .05rem .1rem; }
.place .after, .break { color: var(--soft); }
.place figcaption { margin-top: .4rem; font-size: .8rem; color: var(--soft); font-variant-numeric: tabular-nums; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .5rem 1.5rem; margin: 0; font-size: .92rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
code { font: .85em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; color: var(--soft); }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; gap: .1rem; } dd { margin-bottom: .6rem; } }
@media print { main { padding: 0; } section { break-inside: avoid; } }
"""
