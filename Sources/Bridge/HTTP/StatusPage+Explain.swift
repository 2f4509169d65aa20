extension StatusPage {
  /// A position explained on click: what `/explain` answers, as text.
  static let explaining = #"""

    const verdicts={ok:"As it should be.",missing:"Something that has to be there is missing, or differs.",
     inconclusive:"Neither the oplog nor the streams say.",unavailable:"A server that would know is unavailable."};
    /* Numbers as they are written, where the browser can: those beyond 2^53 are not exact otherwise. */
    const exactly=(_,v,c)=>typeof v==="number"&&c&&JSON.rawJSON?JSON.rawJSON(c.source):v;
    /* What turns the direction of writing is shown, not done: in a JSON text it is only within strings. */
    const visible=t=>t.replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,c=>"\\\\u"+c.charCodeAt(0).toString(16).padStart(4,"0"));
    const plain=v=>v?.rawJSON===undefined?v:Number(v.rawJSON);
    const shown=v=>typeof v==="string"?v:JSON.stringify(v,null,1);
    function pair(list,name,value){if(value==null||value==="")return;const d=element("div");d.append(element("dt",name),element("dd",value));list.append(d)}
    function stored(m){return"stream "+m.stream+", sequence "+(m.seq.rawJSON??m.seq)+", at "+m.time+(m.error?", as a dead letter: "+m.error:"")+(m.by_bridge?"":", by another producer")}
    function outcome(o){const parts=[element("h3",o.outcome.replace("_"," ")+(o.rule?" by rule "+o.rule:""))],list=element("dl");
     if(o.error)pair(list,"Error",o.error+(o.detail?": "+o.detail:""));
     if(o.message){pair(list,"Subject",o.message.subject);pair(list,"Body",size(plain(o.message.body_bytes)))}
     if(o.schema)pair(list,"Schema",(o.schema.valid?"valid by ":"invalid by ")+o.schema.path+(o.schema.detail?": "+o.schema.detail:""));
     for(const m of o.stored)pair(list,"Stored",stored(m));
     for(const d of o.differences)pair(list,"Differs",d);
     if(o.absence)pair(list,o.absence.state.replace("_"," "),o.absence.reason);
     else if(!o.stored.length&&o.message&&o.outcome!=="signal")pair(list,"Stored","NATS can\u2019t be asked for it");
     parts.push(list);
     if(o.message?.headers)parts.push(element("pre",Object.entries(o.message.headers).map(([k,v])=>k+": "+v).join("\n")));
     if(o.message?.body!=null)parts.push(element("pre",shown(o.message.body)));
     return parts}
    function event(e){const parts=[],list=element("dl");
     parts.push(element("p",e.operation?e.operation+" in "+e.namespace:"The oplog does not show its event."));
     pair(list,"Position",e.position);pair(list,"Written",e.written);
     pair(list,"Read from",{oplog:"the oplog",dead_letter:"its dead letter",stream:"the stream"}[e.source]);
     if(e.document_key!=null)pair(list,"Document key",JSON.stringify(e.document_key));
     pair(list,"Event",plain(e.event_bytes)?size(plain(e.event_bytes)):null);
     if(e.orphan)pair(list,"Wrong","the oplog has no entry there, only before and behind it: rolled back, or of another history");
     parts.push(list);
     if(e.event!=null)parts.push(element("pre",shown(e.event)));
     if(e.rules?.length){const box=element("ol");for(const r of e.rules)box.append(element("li",r.name+": "+(r.takes?"":"no, ")+r.reason));
      parts.push(element("h3","Rules, in their order"),box)}
     for(const o of e.outcomes)parts.push(...outcome(o));
     if(e.others.length){const box=element("ul");for(const m of e.others)box.append(element("li",stored(m)));
      parts.push(element("h3","Messages of it in the streams"),box)}
     return parts}
    let asked=0,home;
    /* Where the keyboard was, although the page was drawn again meanwhile. */
    at("explanation").addEventListener("close",()=>{const text=at("explanation-title").textContent.slice("Event ".length);
     const again=[...(home?at(home):document).querySelectorAll("button.position")].find(b=>b.textContent===text);
     (again??at("position")).focus({preventScroll:true})});
    async function explain(position){const d=at("explanation"),box=at("answer"),number=++asked;
     at("explanation-title").textContent="Event "+position;box.replaceChildren(element("p","Both servers are being asked."));
     if(!d.open){home=document.activeElement?.closest("[id]")?.id;d.showModal()}
     let parts;
     try{const answer=await fetch("/explain?position="+encodeURIComponent(position),{cache:"no-store"}),text=await answer.text();
      if(answer.ok){const a=JSON.parse(visible(text),exactly);
       parts=[element("p",verdicts[a.verdict]??a.verdict,a.verdict==="ok"?null:"fail"),...a.events.flatMap(event),...a.notes.map(n=>element("p",n))]}
      else parts=[element("p",text,"fail")]}
     catch(problem){parts=[element("p",String(problem),"fail")]}
     if(number===asked)box.replaceChildren(...parts)}
    at("close").addEventListener("click",()=>at("explanation").close());
    at("ask").addEventListener("submit",e=>{e.preventDefault();const p=at("position").value.trim();if(p)explain(p)});
    """#
}
