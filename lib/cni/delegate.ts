/**
 * Delegation (specification section "Section 4: Plugin delegation"): a plugin calls another one, found in CNI_PATH, with
 * the same environment and configuration. A delegate that is this executable under another name is called in the same
 * process; any other executable is started.
 */

import { CniError, DELEGATE_FAILED, INVALID_CONFIG, NOT_AVAILABLE } from "../errors.ts";
import { warnBytes } from "../host/io.ts";
import { firstLine, howItEnded, runProgram } from "../host/program.ts";
import { itemAt } from "../lists.ts";
import { errnoText } from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";
import { clip } from "../text.ts";
import type { NetworkConfig } from "./config.ts";
import type { Request, Verb } from "./environment.ts";
import { Fields } from "./fields.ts";
import { JsonError, parseJson } from "./json.ts";
import { pluginsNamed } from "./names.ts";
import { Delegates, type Plugin } from "./plugin.ts";
import { EMPTY_RESULT, type Result } from "./result.ts";
import { decodeForeignResult } from "./result-decode.ts";

const MAX_PASSED_ON_BYTES = 65536;

/** The delegates that CNI_PATH holds. */
export class FoundDelegates extends Delegates {
  readonly #own: readonly Plugin[];
  readonly #request: Request;
  readonly #config: NetworkConfig;
  readonly #caller: string;

  /**
   * @param own the plugins of this executable
   * @param caller the name of the plugin that delegates
   */
  constructor(own: readonly Plugin[], caller: string, request: Request, config: NetworkConfig) {
    super();
    this.#own = own;
    this.#caller = caller;
    this.#request = request;
    this.#config = config;
  }

  override withConfig(config: NetworkConfig): Delegates {
    return new FoundDelegates(this.#own, this.#caller, this.#request, config);
  }

  override add(type: string): Result {
    const path = this.#find(type);
    const own = this.#same(path, type);
    if (own !== null) return own.add(this.#call("ADD"));
    const output = execute(path, type, "ADD", this.#config.bytes);
    return resultOf(output, type, this.#config.cniVersion);
  }

  override check(type: string): void {
    const own = this.#resolve(type, "CHECK");
    if (own !== null) own.check(this.#call("CHECK"));
  }

  override del(type: string): void {
    const own = this.#resolve(type, "DEL");
    if (own !== null) own.del(this.#call("DEL"));
  }

  override gc(type: string): void {
    const own = this.#resolve(type, "GC");
    if (own !== null) own.gc(this.#call("GC"));
  }

  /** A delegate that cannot be found or started makes the network unavailable. @throws CniError 50 */
  override status(type: string): void {
    try {
      const own = this.#resolve(type, "STATUS");
      if (own !== null) own.status(this.#call("STATUS"));
    } catch (error) {
      if (!(error instanceof CniError) || error.code !== DELEGATE_FAILED) throw error;
      throw new CniError(NOT_AVAILABLE, error.message, error.details);
    }
  }

  override explain(type: string): string[] {
    const own = this.#named(type);
    if (own === null) return [`# ${clip(type)}: what it does is not told here`];
    return own.explain({ request: this.#request, config: this.#config, delegates: this });
  }

  /** The delegate if it is a plugin of this executable; otherwise runs it and returns null. */
  #resolve(type: string, verb: Verb): Plugin | null {
    const path = this.#find(type);
    const own = this.#same(path, type);
    if (own === null) execute(path, type, verb, this.#config.bytes);
    return own;
  }

  #call(command: Verb) {
    return { request: { ...this.#request, command }, config: this.#config, delegates: this };
  }

  /** The path of the first regular file of that name in CNI_PATH. The name must have no slash (CVE-2021-20206). */
  #find(type: string): string {
    if (type === "") throw new CniError(INVALID_CONFIG, "no plugin name provided", 'the delegate\'s "type" is empty');
    if (type.includes("/") || type === "." || type === "..") {
      throw new CniError(
        INVALID_CONFIG,
        `invalid plugin name: ${clip(type)}`,
        "a plugin name is a file name, not a path",
      );
    }
    if (type === this.#caller || this.#named(type)?.name === this.#caller) {
      throw new CniError(
        INVALID_CONFIG,
        `plugin ${type} cannot delegate to itself`,
        "it would call itself without end",
      );
    }
    for (const directory of this.#request.path) {
      if (directory === "") continue;
      const path = `${directory}/${type}`;
      const status = sys.fstatat(sys.AT_FDCWD, path, 0);
      if (status !== null && (status.mode & sys.S_IFMT) === sys.S_IFREG) return path;
    }
    throw new CniError(
      DELEGATE_FAILED,
      `failed to find plugin "${clip(type)}" in path [${this.#request.path.join(" ")}]`,
      "install it in one of these directories, or correct CNI_PATH",
    );
  }

  /** The plugin that this executable would be under that name; null if none or several. */
  #named(type: string): Plugin | null {
    const found = pluginsNamed(this.#own, type);
    return found.length === 1 ? itemAt(found, 0) : null;
  }

  #same(path: string, type: string): Plugin | null {
    const theirs = sys.fstatat(sys.AT_FDCWD, path, 0);
    const ours = sys.fstatat(sys.AT_FDCWD, "/proc/self/exe", 0);
    if (theirs === null || ours === null || theirs.inode !== ours.inode || theirs.device !== ours.device) return null;
    return this.#named(type);
  }
}

/** Runs a plugin and returns its standard output. @throws CniError: the error object that it printed, or 104 */
function execute(path: string, type: string, verb: Verb, config: Uint8Array): Uint8Array {
  sys.must(sys.setenv("CNI_COMMAND", verb), "set CNI_COMMAND");
  const { status, output, errors } = runProgram(path, [], true, config);
  /* Its warnings are passed on. More than a pipe holds would block this process if nobody reads. */
  if (errors.length > 0) warnBytes(errors.subarray(0, MAX_PASSED_ON_BYTES));
  if (status < 0) {
    throw new CniError(
      DELEGATE_FAILED,
      `failed to start plugin ${path}: ${errnoText(-status)}`,
      "a plugin is an executable file; install it again, or correct CNI_PATH",
    );
  }
  if (status !== 0) throw failure(type, verb, status, output, errors);
  return output;
}

/** Parses what a delegate's ADD printed; JSON `null` is an empty result. @throws CniError 104, 1 */
function resultOf(output: Uint8Array, type: string, version: string): Result {
  try {
    const json = parseJson(output);
    return json.kind === "null" ? EMPTY_RESULT : decodeForeignResult(json, "result", version);
  } catch (error) {
    if (error instanceof JsonError) throw unusable(output, type, error.message);
    /* An unknown version keeps its code, 1. An invalid field is a fault of the delegate. */
    if (error instanceof CniError && error.code === INVALID_CONFIG) throw unusable(output, type, error.message);
    throw error;
  }
}

function unusable(output: Uint8Array, type: string, problem: string): CniError {
  return new CniError(
    DELEGATE_FAILED,
    `plugin ${clip(type)} printed no valid result: ${problem}`,
    `it printed: ${firstLine(output)}`,
  );
}

function failure(type: string, verb: Verb, status: number, printed: Uint8Array, errors: Uint8Array): CniError {
  const object = errorObject(printed);
  if (object !== null) return object;
  const said = firstLine(errors);
  const how = howItEnded(status);
  const msg = said === "" ? `netplugin failed with no error message: ${type} ${how}` : `netplugin failed: ${said}`;
  return new CniError(DELEGATE_FAILED, msg, `${verb} by plugin ${type} ${how} and printed no error object`);
}

function errorObject(printed: Uint8Array): CniError | null {
  try {
    const fields = new Fields(parseJson(printed), "");
    const code = fields.integer("code", 0, 0xffffffff);
    const msg = fields.string("msg", "");
    const details = fields.string("details", "");
    return code === null ? null : new CniError(code, msg === "" ? `the plugin failed with code ${code}` : msg, details);
  } catch (error) {
    if (error instanceof JsonError || error instanceof CniError) return null;
    throw error;
  }
}
