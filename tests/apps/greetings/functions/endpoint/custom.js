exports = async function (request, response) {
  try {
    if (request.body === undefined) {
      throw new Error("Request body was not defined.");
    }
    const message = JSON.parse(request.body.text());
    response.setStatusCode(201);
    response.setBody(JSON.stringify({ message }));
  } catch (error) {
    response.setStatusCode(400);
    response.setBody(error.message);
  }
};
