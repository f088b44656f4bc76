// A route built with the AI SDK, as it may stand after `useChat` in any app, and as outlive takes it for an agent:
//
//   npm ci && PORT=3000 node agent.mjs &
//   outlive serve --config outlive.toml        # with:
//
//     [agents.helper]
//     kind = "push"
//     protocol = "ai-sdk"
//     url = "http://127.0.0.1:3000/api/chat"
//
// Put a model of yours in place of `echo`; the route stays as it is.
import { createServer } from 'node:http'
import { convertToModelMessages, simulateReadableStream, smoothStream, streamText } from 'ai'
import { MockLanguageModelV3 } from 'ai/test'

// A model without a key: it says the last message back, word by word.
const echo = new MockLanguageModelV3({
  doStream: async ({ prompt }) => {
    const last = prompt.at(-1).content.map((part) => part.text ?? '').join('')
    const words = last.split(' ').map((word, at) => (at === 0 ? word : ` ${word}`))
    const usage = { inputTokens: { total: 1 }, outputTokens: { total: words.length } }
    const finish = { type: 'finish', finishReason: { unified: 'stop' }, usage }
    const text = words.map((delta) => ({ type: 'text-delta', id: '0', delta }))
    const chunks = [{ type: 'text-start', id: '0' }, ...text, { type: 'text-end', id: '0' }, finish]
    return { stream: simulateReadableStream({ chunks, chunkDelayInMs: Number(process.env.DELAY_MS ?? 20) }) }
  },
})

const server = createServer(async (request, response) => {
  let body = ''
  for await (const piece of request) body += piece
  const { messages } = JSON.parse(body)
  // outlive closes the connection when the turn is cancelled.
  const stopped = new AbortController()
  response.on('close', () => stopped.abort())
  stopped.signal.addEventListener('abort', () => !response.writableFinished && console.log('stopped'))
  const answer = streamText({
    model: echo,
    messages: await convertToModelMessages(messages),
    abortSignal: stopped.signal,
    experimental_transform: smoothStream({ delayInMs: null }),
  })
  answer.pipeUIMessageStreamToResponse(response)
})
server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`listening on ${server.address().port}`)
})
