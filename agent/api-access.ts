/** How the agent reaches the API server: connections in its loop. */

import { Connection } from "../lib/kubernetes/connection.ts";
import { LoopScheduler } from "../lib/kubernetes/loop-scheduler.ts";
import { Requests } from "../lib/kubernetes/requests.ts";
import type { ApiServer } from "../lib/kubernetes/server.ts";
import { TlsTransport } from "../lib/kubernetes/tls-transport.ts";
import { type Observer, Watch } from "../lib/kubernetes/watch.ts";
import type { Collection } from "../lib/kubernetes/watch-requests.ts";
import { Watcher } from "../lib/kubernetes/watcher.ts";
import type { Loop } from "../lib/loop/loop.ts";

export class ApiAccess {
  readonly #server: ApiServer;
  readonly #userAgent: string;

  constructor(server: ApiServer, release: string) {
    this.#server = server;
    this.#userAgent = `podwire-agent/${release}`;
  }

  /** Watches a collection on a connection of its own. */
  watch(loop: Loop, collection: Collection, observer: Observer, nodeName: string): void {
    new Watcher(new Watch(collection, observer, nodeName), this.#connect(loop), new LoopScheduler(loop)).start();
  }

  /** Single requests on a connection of their own. */
  requests(loop: Loop, nodeName: string): Requests {
    return new Requests(this.#connect(loop), new LoopScheduler(loop), nodeName);
  }

  #connect(loop: Loop): Connection {
    const transport = new TlsTransport(loop);
    const connection = new Connection(this.#server, this.#userAgent, transport, new LoopScheduler(loop));
    transport.attach(connection);
    return connection;
  }
}
