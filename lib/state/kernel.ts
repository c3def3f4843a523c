/** The kernel as a call sees it: the plugin's own namespace and the container's, each through a socket of its own. */
import { CniError, INVALID_NETNS, KERNEL_REFUSED, TRY_AGAIN_LATER } from "../errors.ts";
import { PacketFilter } from "../filter/packet-filter.ts";
import {
  inNamespace,
  type Namespace,
  type NamespaceIdentity,
  NO_NAMESPACE,
  openNamespace,
  tryOpenNamespace,
} from "../host/namespace.ts";
import { getLinkByName, type Link } from "../netlink/link.ts";
import { NETLINK_ROUTE, NetlinkError, NetlinkSocket } from "../netlink/socket.ts";
import { isTransient } from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";

/** Which of the two namespaces of a call an object lives in. */
export type Where = "host" | "container";

/** Both sides of an attachment. Namespaces and sockets are opened when they are first needed, and closed with it. */
export class Kernel {
  readonly #path: string;
  #namespace: Namespace | null = null;
  #looked = false;
  #host: NetlinkSocket | null = null;
  #container: NetlinkSocket | null = null;
  #filter: PacketFilter | null = null;
  readonly #indexes = new Map<string, number>();
  readonly #links = new Map<string, Link>();

  private constructor(path: string) {
    this.#path = path;
  }

  /** For a container that must be there. @throws CniError 8 if its namespace is not; SystemError */
  static forContainer(path: string): Kernel {
    const kernel = new Kernel(path);
    kernel.#namespace = openNamespace(path);
    kernel.#looked = true;
    return kernel;
  }

  /** For DEL: the container's namespace may be gone, or the runtime does not know it ("") any more. */
  static forContainerIfAny(path: string): Kernel {
    return new Kernel(path);
  }

  /** For the host alone. */
  static forHost(): Kernel {
    return new Kernel("");
  }

  /** The container's namespace; null if there is none (any more). @throws SystemError if the system cannot tell */
  get namespace(): Namespace | null {
    if (!this.#looked) this.#namespace = tryOpenNamespace(this.#path);
    this.#looked = true;
    return this.#namespace;
  }

  /** Which namespace the container's is, for records; NO_NAMESPACE if there is none. */
  get identity(): NamespaceIdentity {
    const namespace = this.namespace;
    if (namespace === null) return NO_NAMESPACE;
    return { path: namespace.path, device: namespace.device, inode: namespace.inode };
  }

  /** @throws SystemError */
  get host(): NetlinkSocket {
    const socket = this.#host ?? new NetlinkSocket(NETLINK_ROUTE);
    this.#host = socket;
    return socket;
  }

  /** @throws CniError 8 if there is no container namespace */
  get container(): NetlinkSocket {
    if (this.#container === null) {
      this.inContainer(() => {});
    }
    if (this.#container === null) throw noNamespace();
    return this.#container;
  }

  /** Runs an action inside the container's namespace, where sysctls are the container's. */
  inContainer(action: () => void): void {
    const namespace = this.namespace;
    if (namespace === null) throw noNamespace();
    inNamespace(namespace, () => {
      if (this.#container === null) this.#container = new NetlinkSocket(NETLINK_ROUTE);
      action();
    });
  }

  socket(where: Where): NetlinkSocket {
    return where === "host" ? this.host : this.container;
  }

  /** The host's packet filter; its socket is opened when it is first needed. */
  get filter(): PacketFilter {
    const filter = this.#filter ?? new PacketFilter();
    this.#filter = filter;
    return filter;
  }

  /** The index of a link that must be there; asked once. @throws CniError 100 */
  index(where: Where, name: string): number {
    return this.#indexes.get(`${where} ${name}`) ?? this.link(where, name).index;
  }

  /** Notes a link as it was found. */
  note(where: Where, link: Link): void {
    this.remember(where, link.name, link.index);
    this.#links.set(`${where} ${link.name}`, link);
  }

  /** Notes the index of a link that was just made or found. */
  remember(where: Where, name: string, index: number): void {
    this.#indexes.set(`${where} ${name}`, index);
  }

  /** A link as this call has seen it before; null if it has not. */
  seen(where: Where, name: string): Link | null {
    return this.#links.get(`${where} ${name}`) ?? null;
  }

  /** A link that must be there, as it is now. @throws CniError 100 */
  link(where: Where, name: string): Link {
    const link = getLinkByName(this.socket(where), name);
    if (link === null)
      throw new CniError(KERNEL_REFUSED, `link ${name} is not there`, `looked in the ${where}'s namespace`);
    this.note(where, link);
    return link;
  }

  close(): void {
    this.#host?.close();
    this.#container?.close();
    this.#filter?.close();
    if (this.#namespace !== null) sys.close(this.#namespace.fd);
  }
}

/** Does something; a refusal by the kernel becomes an error that says what was attempted. @throws CniError 100, 11 */
export function attempting(attempted: string, action: () => void): void {
  try {
    action();
  } catch (error) {
    if (error instanceof NetlinkError) throw kernelRefused(error, attempted, "");
    throw error;
  }
}

/** The error for a refusal by the kernel: what was attempted, in its words and ours. */
export function kernelRefused(error: NetlinkError, attempted: string, advice: string): CniError {
  const code = isTransient(error.errno) ? TRY_AGAIN_LATER : KERNEL_REFUSED;
  return new CniError(code, `${attempted}: ${error.message}`, advice);
}

function noNamespace(): CniError {
  return new CniError(INVALID_NETNS, "the container's network namespace is not there");
}
