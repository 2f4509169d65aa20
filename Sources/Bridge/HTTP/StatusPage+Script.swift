extension StatusPage {
  /// Texts from outside are set as text only, never as markup.
  static let refreshing = #"""
    "use strict";
    const at=id=>document.getElementById(id);
    const words={
     ok:"Events are delivered.",
     idle:"Everything is delivered, and nothing has happened in the last ten seconds.",
     degraded:"Events are delivered, but something needs attention.",
     stalled:"Events are not delivered: the oldest one has not moved for ten seconds or more.",
     gap:"A part of a stream is missing, or the position in the oplog is lost.",
     failed:"The bridge has halted and does not continue by itself.",
     unreachable:"The bridge does not answer. What follows is its last answer."};
    const help={
     degraded:"The checks below name it; runbooks.md has a section for each alert.",
     stalled:"runbooks.md: \u201c/healthz says stalled\u201d",
     gap:"runbooks.md: \u201c/healthz says gap\u201d",
     failed:"runbooks.md: \u201cExit codes of run\u201d",
     unreachable:"runbooks.md: \u201cTailraceDown\u201d"};
    function element(name,text,kind){const e=document.createElement(name);if(text!=null)e.textContent=text;if(kind)e.className=kind;return e}
    const count=n=>n==null?"\u2013":n.toLocaleString("en");
    function time(s){if(s==null)return"\u2013";if(s<0)s=0;
     if(s<1)return Math.round(s*1000)+" ms";if(s<60)return(s<10?s.toFixed(1):Math.round(s))+" s";
     if(s<3600)return Math.floor(s/60)+" min "+Math.round(s%60)+" s";
     if(s<172800)return Math.floor(s/3600)+" h "+Math.round(s%3600/60)+" min";return Math.round(s/86400)+" days"}
    function size(b){if(b==null)return"\u2013";const u=["B","KiB","MiB","GiB","TiB"];let i=0;while(b>=1024&&i<4){b/=1024;i++}
     return(i&&b<10?b.toFixed(1):Math.round(b))+" "+u[i]}
    /* A text, with a button for each position in it. */
    function marked(of){const text=String(of),parts=[];let from=0;
     for(const found of text.matchAll(/(?<![\w.])\d{9,10}\.\d{1,10}(?:\.\d{1,10})?(?!\.\d|\w)/g)){
      const b=element("button",found[0],"position");b.type="button";b.setAttribute("aria-label","Explain "+found[0]);
      b.addEventListener("click",()=>explain(found[0]));
      if(found.index>from)parts.push(text.slice(from,found.index));parts.push(b);from=found.index+found[0].length}
     if(from<text.length)parts.push(text.slice(from));return parts}
    /* New content, in which what had the keyboard's focus has it again. */
    function replace(here,...nodes){const f=here.contains(document.activeElement)?document.activeElement:null;
     const all=()=>[...here.querySelectorAll("button,[tabindex]")],i=f?all().indexOf(f):-1;
     here.replaceChildren(...nodes);if(i<0)return;
     const now=all(),again=now.find(e=>e.tagName===f.tagName&&e.className===f.className&&e.textContent===f.textContent)??now[i];
     if(again)again.focus({preventScroll:true})}
    /* A table with a caption for screen readers; cells are text, numbers or elements. */
    function table(id,name,head,rows,none){const here=at(id);if(!rows.length){replace(here,element("p",none));return}
     const box=element("div",null,"scroll");box.tabIndex=0;box.setAttribute("role","region");box.setAttribute("aria-label",name);
     const t=element("table"),h=t.createTHead().insertRow();
     head.forEach((x,i)=>{const c=element("th",x);c.scope="col";if(typeof rows[0][i]==="number"||rows[0][i]?.isCount)c.className="n";h.append(c)});
     const b=t.createTBody();
     for(const r of rows){const w=b.insertRow();r.forEach((x,i)=>{const c=i?w.insertCell():w.appendChild(Object.assign(element("th"),{scope:"row"}));
      if(x instanceof Node)c.append(x);else if(typeof x==="number"){c.className="n";c.textContent=count(x)}
      else{c.append(...marked(x==null?"\u2013":x));if(x&&x.length>40)c.className="wide"}})}
     box.append(t);const scrolled=here.firstChild?.scrollLeft;replace(here,box);if(scrolled)box.scrollLeft=scrolled}
    const svg=(name,attributes)=>{const e=document.createElementNS("http://www.w3.org/2000/svg",name);
     for(const k in attributes)e.setAttribute(k,attributes[k]);return e};
    function line(values,most,from,kind){let path="",pen=false;values.forEach((v,i)=>{if(v==null){pen=false;return}
      path+=(pen?"L":"M")+(from+i)+" "+(58-54*Math.min(v,most)/most).toFixed(1)+(pen?"":"h.01");pen=true});
     return svg("path",{d:path,class:kind})}
    function chart(title,series,show){const longest=360,values=series[0][1],known=series.flatMap(s=>s[1]).filter(v=>v!=null);
     const most=Math.max(...known,1e-9),last=values.at(-1),f=element("figure"),c=element("figcaption");
     c.append(element("span",title),element("b",show(last)));f.append(c);
     const s=svg("svg",{viewBox:"0 0 "+longest+" 60",preserveAspectRatio:"none",role:"img",
      "aria-label":title+": now "+show(last)+(known.length?", highest "+show(most)+", lowest "+show(Math.min(...known)):"")});
     s.append(svg("path",{d:"M0 59H"+longest,class:"ground"}));
     series.forEach(([,v],i)=>s.append(line(v,most,longest-v.length,i?"course second":"course")));
     f.append(s);return f}
    function meter(holds){if(!holds)return"\u2013";const parts=[[holds.bytes,holds.max_bytes,size],[holds.messages,holds.max_messages,count]].filter(p=>p[1]>0);
     if(!parts.length)return count(holds.messages)+" messages, "+size(holds.bytes);
     const [held,most,show]=parts.reduce((a,b)=>a[0]/a[1]>b[0]/b[1]?a:b),box=element("span"),m=element("meter");
     m.max=most;m.value=Math.min(held,most);if(holds.discard==="new"){m.high=most*.9;m.optimum=0}
     m.setAttribute("aria-label","fill");box.append(m," "+show(held)+" of "+show(most)+(holds.discard==="old"?", the oldest are discarded":""));return box}
    function facts(h,s){const list=[
      ["Role",s.role==="leader"?"leader, epoch "+s.epoch:s.role+(s.lease.holder?"; instance "+s.lease.holder+" leads":"")],
      ["Lease",s.lease.age_seconds==null?"\u2013":"renewed "+time(s.lease.age_seconds)+" ago; "+s.lease.takeovers+" take-overs"],
      ["Phase",s.phase],["Position",s.position],["Checkpoint",s.resume_position],
      ["Events",count(Math.round(s.rate_per_second))+" a second"],["In flight",count(s.in_flight)],
      ["Oldest unsettled",s.oldest_unsettled_seconds?time(s.oldest_unsettled_seconds)+(s.oldest_unsettled_position?", event "+s.oldest_unsettled_position:""):"none"],
      ["Oplog behind the checkpoint",time(s.oplog_window.headroom_seconds)],["Configuration",s.config_hash],
      ["Running for",time(s.uptime_seconds)]];
     replace(at("facts"),...list.map(([k,v])=>{const d=element("div"),e=element("dd");e.append(...marked(v??"\u2013"));d.append(element("dt",k),e);return d}))}
    function reason(h){if(h.status==="ok"||h.status==="idle")return"";
     const bad=Object.entries(h.checks).filter(([,c])=>!["ok","idle"].includes(c.status));
     return(bad.length?bad:Object.entries(h.checks).filter(([k])=>k==="pipeline")).map(([k,c])=>k+": "+c.detail).join("; ")}
    function tell(status,why){const pill=at("health");if(pill.textContent!==status)pill.textContent=status;pill.className="pill "+status;
     at("words").textContent=words[status]||status;if(at("reason").textContent!==why)replace(at("reason"),...marked(why));at("reason").hidden=!why;
     at("help").textContent=help[status]||"";at("help").hidden=!help[status]}
    function show(h,s,past){tell(h.status,reason(h));document.title=s.bridge+": "+h.status;
     at("bridge").textContent=s.bridge;at("version").textContent="tailrace "+s.version+", instance "+s.instance;facts(h,s);
     at("charts").replaceChildren(
      chart("Events a second",[["",past.events_per_second]],n=>count(n==null?null:Math.round(n))),
      chart("Write to stored: half, and 99 %",[["",past.write_to_stored_p50_seconds],["",past.write_to_stored_p99_seconds]],time),
      chart("Lag",[["",past.lag_seconds]],time),
      chart("Oplog behind the checkpoint",[["",past.oplog_headroom_seconds]],time));
     table("checks","Checks",["Check","Status","Detail"],Object.entries(h.checks).map(([k,c])=>
      [k,element("span",c.status,c.status==="fail"||c.status==="stalled"||c.status==="failed"?"fail":c.status),c.detail]),"None.");
     table("streams","Streams",["Stream","Protocol","Last sequence","In flight","Last position","Holds","Refused"],s.streams.map(r=>
      [r.name,r.protocol,r.last_sequence,r.in_flight,r.last_position,meter(r.holds),r.refusal?r.refusal.reason+" ("+r.refusal.count+" times)":null]),
      s.role==="leader"?"None is open.":"The leader publishes.");
     table("rules","Rules",["Rule","Published","Duplicates","Filtered","Dead letters","Dropped","Newest","Last error"],s.rules.map(r=>
      [r.name,r.published,r.duplicate,r.filtered,r.dead_lettered,r.dropped,r.newest_position,
       r.last_error&&(r.last_error_position?r.last_error_position+": ":"")+r.last_error]),"No event yet.");
     at("standing").textContent=s.dead_letters_standing==null?"The stream has not told yet.":
      s.dead_letters_standing?count(s.dead_letters_standing)+" wait in the dead-letter stream: tailrace dlq list":"None waits in the dead-letter stream.";
     table("letters","Dead letters",["Rule","Error","Count","First","Newest"],s.dead_letters.map(l=>
      [l.rule,l.error,l.count,l.first_position,l.newest_position]),"None since this process began.");
     table("refusals","Schema refusals",["Rule","Keyword","Place","Count","First","Newest"],s.schema_refusals.map(r=>
      [r.rule,r.keyword==null?"others":r.keyword||"the whole",r.keyword==null?null:r.place||"the body",r.count,r.first_position,r.newest_position]),"None since this process began.");
     table("cutover","Cut-over",["Group","Phase","By the producer","Filled","Mismatched","Phantom","Missed","Problem"],
      s.cutover_groups.map(g=>[g.group,g.phase,g.counts.by_producer,g.counts.filled,g.counts.mismatched,g.counts.phantom,g.counts.missed,g.problem]),"No groups.");
     table("errors","Last errors",["Ago","Error"],s.last_errors.map(e=>[time(e.age_seconds),e.error]),"None.")}
    async function json(path){const answer=await fetch(path,{cache:"no-store"});return answer.json()}
    async function load(){try{const [s,past]=await Promise.all(["/status","/history"].map(json));
     show({status:s.health,checks:s.checks},s,past)}
     catch(problem){tell("unreachable",String(problem))}}
    load();setInterval(load,2000);
    """#
}
