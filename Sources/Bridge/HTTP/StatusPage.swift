/// `/`: the status for people, one self-contained page that refreshes itself.
enum StatusPage {
  static let html = """
    <!doctype html>
    <html lang="en"><head><meta charset="utf-8"><title>tailrace</title>
    <meta name="viewport" content="width=device-width,initial-scale=1">
    <style>
    body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b1f24;background:#fff}
    h1{font-size:1.3rem}h2{font-size:1rem;margin:1.6rem 0 .4rem}
    table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #d8dee4}
    td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
    .s{display:inline-block;padding:.1rem .6rem;border-radius:1rem;color:#fff;background:#57606a}
    .ok,.idle{background:#1a7f37}.degraded{background:#9a6700}.stalled,.gap,.failed,.fail{background:#cf222e}
    @media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}td,th{border-color:#30363d}}
    </style></head><body>
    <h1>tailrace <span id="bridge"></span> <span id="health" class="s">…</span></h1>
    <p id="line"></p><h2>Checks</h2><table id="checks"></table><h2>Cut-over</h2><table id="cutover"></table><h2>Rules</h2><table id="rules"></table>
    <h2>Streams</h2><table id="streams"></table><h2>Last errors</h2><table id="errors"></table>
    <p>Also: <a href="/healthz">/healthz</a> <a href="/status">/status</a> <a href="/metrics">/metrics</a></p>
    <script>
    const $=i=>document.getElementById(i);
    function rows(t,head,data){t.replaceChildren();const h=t.insertRow();
     for(const x of head){const c=document.createElement('th');c.textContent=x;h.append(c)}
     for(const r of data){const w=t.insertRow();for(const x of r){const c=w.insertCell();
      if(typeof x==='number')c.className='n';c.textContent=x===null?'–':x}}}
    async function load(){try{
     const h=await(await fetch('/healthz')).json(),s=await(await fetch('/status')).json();
     $('health').textContent=h.status;$('health').className='s '+h.status;$('bridge').textContent=s.bridge;
     $('line').textContent=`${s.role}, ${s.phase}, epoch ${s.epoch}, position ${s.position}, lag ${s.lag_seconds??'?'} s, oldest unsettled ${s.oldest_unsettled_seconds??'?'} s, `+
      `${Math.round(s.rate_per_second)} events/s, ${s.in_flight} in flight, oplog headroom ${s.oplog_window.headroom_seconds??'?'} s`;
     rows($('checks'),['check','status','detail'],Object.entries(h.checks).map(([k,v])=>[k,v.status,v.detail]));
     rows($('cutover'),['group','phase','by producer','filled','mismatched','phantom','missed','problem'],
      s.cutover_groups.map(g=>[g.group,g.phase,g.counts.by_producer,g.counts.filled,g.counts.mismatched,g.counts.phantom,g.counts.missed,g.problem]));
     rows($('rules'),['rule','published','duplicate','dead letters','dropped','last error'],
      s.rules.map(r=>[r.name,r.published,r.duplicate,r.dead_lettered,r.dropped,r.last_error]));
     rows($('streams'),['stream','protocol','last sequence','in flight','last position','refused'],
      s.streams.map(r=>[r.name,r.protocol,r.last_sequence,r.in_flight,r.last_position,r.refusal?r.refusal.reason:null]));
     rows($('errors'),['seconds ago','error'],s.last_errors.map(e=>[Math.round(e.age_seconds),e.error]));
    }catch(e){$('health').textContent='unreachable';$('health').className='s failed'}}
    load();setInterval(load,2000);
    </script></body></html>
    """
}
