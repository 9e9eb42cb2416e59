// Only called for requests that have proved they know the secret.
exports = function ({ headers, body }) {
  const event = body === undefined ? {} : JSON.parse(body.text());
  console.log("received", event);
  return { received: Object.keys(event), from: (headers["User-Agent"] || ["unknown"])[0] };
};
