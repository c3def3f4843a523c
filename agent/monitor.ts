/**
 * Hears from the kernel when somebody takes away what the agent keeps: a flushed ruleset, a deleted device, routes. It says that
 * something is missing; what that is, the reconciliation finds out.
 */
import type { Loop } from "../lib/loop/loop.ts";
import { Watched } from "../lib/loop/loop.ts";
import { type Loss, lossIn } from "../lib/netlink/losses.ts";
import { NetlinkFormatError } from "../lib/netlink/message-reader.ts";
import { NETLINK_NETFILTER, NETLINK_ROUTE } from "../lib/netlink/netlink.ts";
import {
  NFNLGRP_NFTABLES,
  Notifications,
  RTNLGRP_IPV4_ROUTE,
  RTNLGRP_IPV6_ROUTE,
  RTNLGRP_LINK,
} from "../lib/netlink/notifications.ts";
import { POLLIN } from "../lib/sys/sys.ts";
import { describeLoss } from "./losses.ts";

/** Is told that something of the agent's may be missing. */
export abstract class Guardian {
  /** @param what for the log: "the device overlay1 was deleted" */
  abstract missing(what: string): void;
}

/** Both sockets that are heard. */
export class Monitors {
  readonly #monitors: readonly Monitor[];

  constructor(monitors: readonly Monitor[]) {
    this.#monitors = monitors;
  }

  /** Hears what has been told by now. The agent's own changes are among it, which the kernel tells before it answers. */
  hear(): void {
    for (const monitor of this.#monitors) monitor.ready(0);
  }
}

/** Datagrams read at once: the loop has other work, too. */
const MOST = 64;

export class Monitor extends Watched {
  readonly #notifications: Notifications;
  readonly #guardian: Guardian;

  private constructor(notifications: Notifications, guardian: Guardian) {
    super();
    this.#notifications = notifications;
    this.#guardian = guardian;
  }

  /** Watches links, routes and tables of the process's network namespace. @throws SystemError */
  static start(loop: Loop, guardian: Guardian): Monitors {
    const groups = [RTNLGRP_LINK, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE];
    const route = new Monitor(new Notifications(NETLINK_ROUTE, groups), guardian);
    const filter = new Monitor(new Notifications(NETLINK_NETFILTER, [NFNLGRP_NFTABLES]), guardian);
    loop.watch(route.#notifications.fd, POLLIN, route);
    loop.watch(filter.#notifications.fd, POLLIN, filter);
    return new Monitors([route, filter]);
  }

  override ready(_events: number): void {
    try {
      for (let count = 0; count < MOST; count += 1) {
        const messages = this.#notifications.read();
        if (messages === null) {
          this.#guardian.missing("more changed in the kernel than it could tell");
          return;
        }
        if (messages.length === 0) return;
        for (const message of messages) this.#judge(lossIn(message));
      }
    } catch (error) {
      if (!(error instanceof NetlinkFormatError)) throw error;
      this.#guardian.missing(`the kernel told of a change in a way that is not understood: ${error.message}`);
    }
  }

  #judge(loss: Loss | null): void {
    if (loss === null) return;
    const what = describeLoss(loss);
    if (what !== "") this.#guardian.missing(what);
  }
}
