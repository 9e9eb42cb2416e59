// Keeps the JSON body of a request as a document, with the time it came.
exports = async function (request, response) {
  try {
    if (request.body === undefined) {
      throw new Error("Request body was not defined.");
    }
    const requestBody = JSON.parse(request.body.text());

    const saved = context.services.get("mongodb-atlas").db("samples").collection("bodies");
    const { insertedId } = await saved.insertOne({ date: new Date(), requestBody });

    response.setStatusCode(201);
    response.setBody(JSON.stringify({ insertedId, message: "The request body was saved." }));
  } catch (error) {
    response.setStatusCode(400);
    response.setBody(error.message);
  }
};
