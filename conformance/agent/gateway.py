"""Listens on a port of 127.0.0.1 in its network namespace, and joins each client with a Unix socket, which is in none.

So nodes in namespaces reach the API server of a test, which listens outside of them. It says "ready" when it listens.
"""
import asyncio
import sys

PATH, PORT = sys.argv[1], int(sys.argv[2])


async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def join(reader, writer):
    try:
        server = await asyncio.open_unix_connection(PATH)
    except OSError:
        writer.close()
        return
    await asyncio.gather(pump(reader, server[1]), pump(server[0], writer))


async def main():
    listener = await asyncio.start_server(join, "127.0.0.1", PORT)
    print("ready", flush=True)
    async with listener:
        await listener.serve_forever()


asyncio.run(main())
