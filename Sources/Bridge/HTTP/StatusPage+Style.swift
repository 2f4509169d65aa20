extension StatusPage {
  static let style = """
    :root{--ink:#1b1f24;--soft:#57606a;--paper:#fff;--line:#d8dee4;--panel:#f6f8fa;--good:#1a7f37;--warn:#9a6700;--bad:#cf222e;--blue:#0969da;--warn-text:#7d4e00;--bad-text:#b31d28}
    @media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--paper:#0d1117;--line:#30363d;--panel:#161b22;--good:#238636;--warn:#9e6a03;--bad:#da3633;--blue:#58a6ff;--warn-text:#d29922;--bad-text:#ff7b72}}
    *{box-sizing:border-box}
    body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;max-width:72rem;padding:1rem;color:var(--ink);background:var(--paper)}
    header{display:flex;flex-wrap:wrap;align-items:center;gap:.4rem 1rem}
    h1{font-size:1.3rem;margin:0;overflow-wrap:anywhere;min-width:0}h2{font-size:1rem;margin:1.6rem 0 .4rem}
    .hidden,.skip:not(:focus){position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
    .pill{margin:0;padding:.1rem .7rem;border-radius:1rem;color:#fff;background:var(--soft);font-weight:600}
    .pill.ok,.pill.idle{background:var(--good)}.pill.degraded{background:var(--warn)}
    .pill.stalled,.pill.gap,.pill.failed,.pill.unreachable{background:var(--bad)}
    #words{font-size:1.05rem;margin:.6rem 0 .2rem}#reason{margin:.2rem 0;overflow-wrap:anywhere}#help{margin:.2rem 0;color:var(--soft)}
    dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(11rem,1fr));gap:.6rem 1rem;margin:.8rem 0}
    dt{color:var(--soft);font-size:.85rem}dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
    #charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:.8rem}
    figure{margin:0;padding:.6rem;background:var(--panel);border:1px solid var(--line);border-radius:.4rem}
    figcaption{display:flex;justify-content:space-between;gap:.5rem;font-size:.85rem}
    figcaption b{font-variant-numeric:tabular-nums}
    svg{display:block;width:100%;height:64px;margin-top:.3rem}
    .course{fill:none;stroke:var(--blue);stroke-width:1.5;vector-effect:non-scaling-stroke}
    .second{stroke:var(--warn)}.ground{stroke:var(--line);stroke-width:1;vector-effect:non-scaling-stroke}
    .scroll{overflow-x:auto}.scroll:focus-visible{outline:2px solid var(--blue)}
    table{border-collapse:collapse;width:100%}
    td,th{text-align:left;vertical-align:top;padding:.25rem .6rem;border-bottom:1px solid var(--line)}
    th{font-weight:600;color:var(--soft);font-size:.85rem}
    tbody th{white-space:nowrap}
    td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}td.wide{min-width:14rem;overflow-wrap:anywhere}
    .fail{color:var(--bad-text);font-weight:600}.degraded{color:var(--warn-text)}.pill.degraded{color:#fff}
    h3{font-size:.95rem;margin:1rem 0 .3rem}button,input{font:inherit;color:inherit}
    #ask{display:flex;flex-wrap:wrap;align-items:center;gap:.4rem}#ask-help{margin:.2rem 0;color:var(--soft);font-size:.85rem}
    input,#ask button,#close{padding:.2rem .6rem;border:1px solid var(--line);border-radius:.4rem;background:var(--panel)}#position{width:13rem;max-width:100%}
    .position{padding:0;border:0;background:none;color:var(--blue);text-decoration:underline;text-decoration-style:dotted;cursor:pointer;font-variant-numeric:tabular-nums;text-align:left}
    dialog{width:min(60rem,calc(100vw - 1rem));max-height:calc(100vh - 2rem);overflow:auto;color:inherit;background:var(--paper);border:1px solid var(--line);border-radius:.5rem}
    dialog h2{margin-top:0;outline:none;overflow-wrap:anywhere}dialog::backdrop{background:#0008}#answer p{overflow-wrap:anywhere}
    pre{margin:.3rem 0;padding:.5rem;max-height:16rem;overflow:auto;background:var(--panel);border:1px solid var(--line);border-radius:.4rem;font-size:.85rem;white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate}
    meter{width:6rem}footer{margin-top:2rem;color:var(--soft);border-top:1px solid var(--line)}a{color:var(--blue)}
    """
}
