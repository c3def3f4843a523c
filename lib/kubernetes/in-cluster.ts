/** The API server as a pod finds it: the address in the environment, the files of its service account. */
import { type Files, readFile, readPem } from "./files.ts";
import { isBearerToken } from "./http-request.ts";
import { ApiServer, type Credentials, isHost, parsePort, ServerError } from "./server.ts";

/** Where the kubelet puts the files of the pod's service account, and replaces them. */
export const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

/** Where a pod is told that the server is. */
export interface Surroundings {
  /** KUBERNETES_SERVICE_HOST; "" if it is not set, here and below */
  readonly host: string;
  /** KUBERNETES_SERVICE_PORT */
  readonly port: string;
  /** The directory with `token` and `ca.crt`. */
  readonly directory: string;
}

export class InCluster extends ApiServer {
  readonly #directory: string;
  readonly #files: Files;

  /** @throws ServerError if the process does not run in a pod */
  constructor(surroundings: Surroundings, files: Files) {
    super();
    const { host, port, directory } = surroundings;
    if (host === "" || port === "") {
      throw new ServerError(
        "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this is no pod; name a kubeconfig file",
      );
    }
    if (!isHost(host, host.includes(":"))) {
      throw new ServerError(`KUBERNETES_SERVICE_HOST: "${host}" is neither an address nor a name`);
    }
    this.host = host;
    this.port = parsePort(port, "KUBERNETES_SERVICE_PORT");
    this.name = host;
    this.#directory = directory;
    this.#files = files;
  }

  credentials(): Credentials {
    const token = readFile(this.#files, `${this.#directory}/token`, "the service account's token").trim();
    if (!isBearerToken(token)) throw new ServerError(`${this.#directory}/token holds no token`);
    const ca = readPem(this.#files, `${this.#directory}/ca.crt`, "the cluster's certificate");
    return { ca, token, certificate: "", key: "" };
  }
}

/** The namespace of the pod; "" if that is not known. */
export function ownNamespace(directory: string, files: Files): string {
  const text = files.read(`${directory}/namespace`);
  return text === null ? "" : text.trim();
}
