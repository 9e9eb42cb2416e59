exports = (event) => console.log(event.operationType);
// no newline at the end