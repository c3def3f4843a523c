/**
 * The life of a call: read the request, read and check the configuration, do what the verb says, print one JSON document.
 * The order of the checks is the reference library's (skel), because runtimes and their tests know it.
 */

import {
  CniError,
  INCOMPATIBLE_VERSION,
  INTERNAL,
  INVALID_ENVIRONMENT,
  INVALID_NETNS,
  IO_FAILURE,
  NOT_AVAILABLE,
  TRY_AGAIN_LATER,
} from "../errors.ts";
import { hasPrinted, print, printLast, warn } from "../host/io.ts";
import { textAt } from "../lists.ts";
import { adviceFor, isTransient, SystemError } from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";
import { runByHand } from "./by-hand.ts";
import { readConfig, versionForErrors } from "./config.ts";
import { FoundDelegates } from "./delegate.ts";
import { environmentVariable, type Request, readRequest } from "./environment.ts";
import { readInput, requireVersion } from "./input.ts";
import { formatJson, formatJsonLine, type Json, jsonNumber, jsonObject, jsonString, jsonStrings } from "./json.ts";
import { chosenPlugin } from "./names.ts";
import type { Call, Plugin } from "./plugin.ts";
import { encodeResult } from "./result.ts";
import { CURRENT_VERSION, compareVersions } from "./version.ts";

/** The verbs that came after the first specification, and the version each came with. */
const SINCE: readonly (readonly [string, string])[] = [
  ["CHECK", "0.4.0"],
  ["GC", "1.1.0"],
  ["STATUS", "1.1.0"],
];

const NO_LIST = 'the configuration has no "cni.dev/valid-attachments", so no attachment was taken for stale';

/**
 * Serves one call of the plugin that this process was started as, and returns the exit status.
 * @param plugins all plugins of this executable
 * @param release the version of Podwire
 */
export function run(plugins: readonly Plugin[], release: string): number {
  sys.catchSignals();
  let input: Uint8Array | null = null;
  try {
    const plugin = chosenPlugin(plugins, baseName(textAt(process.argv, 1)), ownFile);
    /* Who calls by the protocol may add arguments; they mean nothing, as with the reference. */
    if (environmentVariable("CNI_COMMAND") === "") {
      runByHand(plugins, plugin, release, process.argv.slice(2));
      return 0;
    }
    const request = readRequest(environmentVariable);
    if (request.command === "VERSION") {
      print(`${formatJsonLine(versionAnswer(plugin))}\n`);
      return 0;
    }
    input = readInput();
    const config = readConfig(input);
    serve({ request, config, delegates: new FoundDelegates(plugins, plugin.name, request, config) }, plugin);
    return 0;
  } catch (error) {
    printError(asCniError(error instanceof Error ? error : new Error(String(error))), input);
    return 1;
  }
}

/** Any failure as an error object: what is worth another try gets code 11, what is our own defect 999. */
export function asCniError(error: Error): CniError {
  if (error instanceof CniError) return error;
  if (error instanceof SystemError) {
    return new CniError(isTransient(error.errno) ? TRY_AGAIN_LATER : IO_FAILURE, error.message, adviceFor(error.errno));
  }
  return new CniError(INTERNAL, `internal error: ${error.message}`, "this is a defect of Podwire: please report it");
}

/** The name of this process's file; "" if it cannot be told. */
function ownFile(): string {
  return baseName(sys.readlink("/proc/self/exe") ?? "");
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function versionAnswer(plugin: Plugin) {
  return jsonObject()
    .with("cniVersion", jsonString(CURRENT_VERSION))
    .with("supportedVersions", jsonStrings(plugin.versions));
}

function serve(call: Call, plugin: Plugin): void {
  const { request, config } = call;
  checkVerb(request.command, config.cniVersion);
  requireVersion(config.cniVersion, plugin);
  checkNamespace(request);
  /* Also where a plugin does not look at it. DEL must be able to undo what a wrong configuration has begun. */
  if (["ADD", "CHECK"].includes(request.command)) config.fields.object("prevResult");
  switch (request.command) {
    case "ADD":
      printResult(call, plugin);
      return;
    case "CHECK":
      plugin.check(call);
      return;
    case "DEL":
      plugin.del(call);
      return;
    case "GC":
      if (config.validAttachments() === null) warn(`${plugin.name}: ${NO_LIST}\n`);
      plugin.gc(call);
      return;
    default:
      checkStatus(call, plugin);
  }
}

/** STATUS: what this process could not do on this node, an ADD could not do either. */
function checkStatus(call: Call, plugin: Plugin): void {
  try {
    plugin.status(call);
  } catch (error) {
    const failure = asCniError(error instanceof Error ? error : new Error(String(error)));
    throw failure.code === IO_FAILURE ? new CniError(NOT_AVAILABLE, failure.message, failure.details) : failure;
  }
}

/** Whether the verb exists, and exists in the configuration's version. */
function checkVerb(command: string, version: string): void {
  if (!["ADD", "CHECK", "DEL", "GC", "STATUS"].includes(command)) {
    throw new CniError(INVALID_ENVIRONMENT, `unknown CNI_COMMAND: ${command.slice(0, 80)}`);
  }
  for (const [verb, since] of SINCE) {
    if (verb === command && compareVersions(version, since) < 0) {
      throw new CniError(
        INCOMPATIBLE_VERSION,
        `config version does not allow ${verb}`,
        `${verb} came with CNI ${since}, the configuration says ${version}`,
      );
    }
  }
}

/** Refuses to work in the namespace the plugin itself runs in, before anything has been done. */
function checkNamespace(request: Request): void {
  if (request.netnsOverride || request.netns === "" || !["ADD", "CHECK", "DEL"].includes(request.command)) return;
  const theirs = sys.fstatat(sys.AT_FDCWD, request.netns, 0);
  const ours = sys.fstatat(sys.AT_FDCWD, "/proc/self/ns/net", 0);
  if (theirs === null || ours === null || theirs.inode !== ours.inode || theirs.device !== ours.device) return;
  throw new CniError(
    INVALID_NETNS,
    "plugin's netns and netns from CNI_NETNS should not be the same",
    `${request.netns} is the namespace the plugin runs in; nothing was changed`,
  );
}

/** ADD: a result that cannot be told to the runtime must not stay behind, so then the attachment is taken back. */
function printResult(call: Call, plugin: Plugin): void {
  const result = plugin.add(call);
  try {
    print(formatJson(encodeResult(result, call.config.cniVersion)));
  } catch (error) {
    try {
      plugin.del(call);
    } catch (second) {
      warn(`while taking back: ${String(second)}\n`);
    }
    throw error;
  }
}

/** The error as the specification's object; `version` is the configuration's, or ours when none could be read. */
export function encodeError(error: CniError, version: string): Json {
  const object = jsonObject()
    .with("cniVersion", jsonString(version))
    .with("code", jsonNumber(error.code))
    .with("msg", jsonString(error.message));
  return error.details === "" ? object : object.with("details", jsonString(error.details));
}

/** Behind a part of a result the error would be part of it: then it is for people only. */
function printError(error: CniError, input: Uint8Array | null): void {
  const version = input === null ? CURRENT_VERSION : versionForErrors(input, CURRENT_VERSION);
  if (hasPrinted()) warn(`${error.message}; standard output holds a part of a result that is no longer true\n`);
  else printLast(`${formatJson(encodeError(error, version))}\n`);
}
