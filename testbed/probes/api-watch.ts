/**
 * Watches the nodes of a cluster as the agent does, and prints what it is told, a line each, until a signal ends it.
 * conformance/agent/api-watch.test.ts runs it.
 *
 *   api-watch KUBECONFIG NODE [PATH]     PATH: an object to read besides, "/api/v1/nodes/n1"
 */
import { formatJsonLine, type Json } from "../../lib/cni/json.ts";
import { print, readText } from "../../lib/host/io.ts";
import { Connection } from "../../lib/kubernetes/connection.ts";
import { DiskFiles } from "../../lib/kubernetes/disk-files.ts";
import { Kubeconfig } from "../../lib/kubernetes/kubeconfig.ts";
import { LoopScheduler } from "../../lib/kubernetes/loop-scheduler.ts";
import { Answer, getObject, Requests } from "../../lib/kubernetes/requests.ts";
import { Selection } from "../../lib/kubernetes/selection.ts";
import type { Failure } from "../../lib/kubernetes/status.ts";
import { TlsTransport } from "../../lib/kubernetes/tls-transport.ts";
import { Observer, Watch } from "../../lib/kubernetes/watch.ts";
import { Watcher } from "../../lib/kubernetes/watcher.ts";
import { textAt } from "../../lib/lists.ts";
import { Loop } from "../../lib/loop/loop.ts";
import { reportCrashes } from "../../lib/sys/loop.ts";
import { exit } from "../../lib/sys/sys.ts";

function say(line: string): void {
  print(`${line}\n`);
}

/** The most memory that the process has had, in kB. */
function peakKb(): string {
  const status = readText("/proc/self/status") ?? "";
  for (const line of status.split("\n")) if (line.startsWith("VmHWM:")) return line.slice(6).trim();
  return "";
}

class Printer extends Observer {
  put(object: Json): void {
    say(`put ${formatJsonLine(object)}`);
  }

  remove(object: Json): void {
    say(`remove ${formatJsonLine(object)}`);
  }

  begin(): void {
    say("begin");
  }

  synced(): void {
    say(`synced ${peakKb()}`);
  }

  trouble(text: string): void {
    say(`trouble ${text}`);
  }
}

class Teller extends Answer {
  done(object: Json): void {
    say(`done ${formatJsonLine(object)}`);
  }

  failed(_failure: Failure, text: string): void {
    say(`failed ${text}`);
  }
}

const list = process.argv.slice(2);
const loop = new Loop();
const scheduler = new LoopScheduler(loop);

function connection(): Connection {
  const transport = new TlsTransport(loop);
  const server = new Kubeconfig(textAt(list, 0), "", new DiskFiles());
  const made = new Connection(server, "podwire-probe/1", transport, scheduler);
  transport.attach(made);
  return made;
}

reportCrashes();
const selection = new Selection().keep(["metadata", "name"]).keep(["spec", "podCIDRs"]).keep(["status", "addresses"]);
const nodes = { path: "/api/v1/nodes", fieldSelector: "", labelSelector: "", selection, isMetadataOnly: false };
const node = textAt(list, 1);
new Watcher(new Watch(nodes, new Printer(), node), connection(), scheduler).start();
const path = textAt(list, 2);
if (path !== "") new Requests(connection(), scheduler, node).send(getObject(path), selection, new Teller());
loop.run();
exit(0);
